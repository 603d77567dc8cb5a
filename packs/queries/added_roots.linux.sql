-- Authorities of certificates that were added on the device to those the distribution trusts. Always one row: with
-- an empty sha1 and path if there is none. A file in which osquery found no certificate, for it reads PEM only, has a
-- path and no sha1. bundle_read is 0 where not even the system's own list could be read.
-- columns: sha1 text, common_name text, path text
-- key: sha1, path
-- cost: 100ms
WITH added AS (
  SELECT DISTINCT c.sha1, c.common_name, f.path FROM file f LEFT JOIN certificates c ON c.path = f.path
    WHERE f.type = 'regular' AND (f.path LIKE '/usr/local/share/ca-certificates/%%'
      OR f.path LIKE '/etc/pki/ca-trust/source/anchors/%' OR f.path LIKE '/etc/pki/trust/anchors/%'
      OR f.path LIKE '/etc/ca-certificates/trust-source/anchors/%')
    AND (f.path LIKE '%.crt' OR f.path NOT LIKE '/usr/local/%')
)
SELECT a.sha1, a.common_name, a.path, CAST((SELECT COUNT(*) > 0 FROM certificates) AS INTEGER) AS bundle_read
FROM osquery_info i LEFT JOIN added a ON 1;
