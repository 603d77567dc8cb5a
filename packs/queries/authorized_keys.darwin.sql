-- Keys that may log in by SSH, by account. fingerprint is the SHA-256, in hex, of the key's base64 text as it
-- stands in the file; neither the key nor its comment is collected. Always one row: without a key it has no
-- fingerprint. reads_all is 1 where osquery runs as root, who alone sees everybody's.
-- columns: account text, fingerprint text, algorithm text, key_file text
-- key: account, fingerprint
-- cost: 50ms
SELECT k.username AS account, k.fingerprint, k.algorithm, k.key_file, CAST(p.uid = 0 AS INTEGER) AS reads_all
FROM osquery_info i LEFT JOIN processes p ON p.pid = i.pid
LEFT JOIN (
  SELECT u.username, sha256(a.key) AS fingerprint, a.algorithm, a.key_file
    FROM users u CROSS JOIN authorized_keys a USING (uid)) k ON 1;
