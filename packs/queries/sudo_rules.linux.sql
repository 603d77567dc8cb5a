-- Lines of sudoers and the files it includes. silent is 1 for a line that lets somebody become another without a
-- password. Always one row: with an empty header where there is no sudoers (configured is 0), or where it could
-- not be read, as SUSE's in /usr/etc. The colon after a tag is left out, for "NOPASSWD: …" looks like a password.
-- columns: rule text
-- key: source, header, rule
SELECT CAST((SELECT COUNT(*) > 0 FROM file WHERE path IN ('/etc/sudoers', '/usr/etc/sudoers')) AS INTEGER)
    AS configured,
  s.source, s.header, replace(s.rule_details, 'PASSWD:', 'PASSWD ') AS rule,
  CAST(s.rule_details LIKE '%NOPASSWD%'
    OR (s.header LIKE 'Defaults%' AND s.rule_details LIKE '%!authenticate%') AS INTEGER) AS silent
FROM osquery_info i LEFT JOIN sudoers s ON 1;
