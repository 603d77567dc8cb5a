-- A key of somebody who came back under another number is no leaver's, as their devices and accounts are not. One that
-- somebody else has too stays a leaver's.

DROP VIEW muster_departed_keys;

CREATE VIEW muster_departed_keys AS
SELECT f.value AS fingerprint, MIN(p.last_day) AS last_day
  FROM muster_person_facts f JOIN muster_people p ON p.person = f.person
 WHERE f.kind = 'key' AND p.last_day IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM muster_people c WHERE c.email_key = p.email_key AND c.email_key <> ''
                      AND (c.last_day IS NULL OR c.last_day > p.last_day))
 GROUP BY f.value
UNION ALL
SELECT DISTINCT '*', '' FROM muster_imports WHERE kind = 'people';
