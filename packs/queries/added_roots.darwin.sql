-- Authorities of certificates in the Mac's own keychain, beside the roots that Apple ships. Always one row: with an
-- empty sha1 if there is none; bundle_read is 0 where no certificate at all could be read there. macOS keeps some of
-- its own in that keychain, and Apple's roots, which lie elsewhere, can be read where it cannot.
-- columns: sha1 text, common_name text, path text
-- key: sha1, path
-- cost: 300ms
SELECT c.sha1, c.common_name, c.path, CAST((SELECT COUNT(*) > 0 FROM certificates
    WHERE path = '/Library/Keychains/System.keychain') AS INTEGER) AS bundle_read
FROM osquery_info i LEFT JOIN certificates c
  ON c.path = '/Library/Keychains/System.keychain' AND c.ca = 1;
