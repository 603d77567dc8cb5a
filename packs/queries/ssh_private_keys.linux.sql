-- Private keys in the .ssh folder of every account, and whether a passphrase protects them: the files' names, not
-- what is in them. Always one row: without a key it has no path. reads_all is 1 where osquery runs as root, who
-- alone sees everybody's.
-- columns: account text, path text, encrypted bigint, key_type text
-- key: account, path
-- cost: 30ms
SELECT k.username AS account, k.path, k.encrypted, k.key_type, CAST(p.uid = 0 AS INTEGER) AS reads_all
FROM osquery_info i LEFT JOIN processes p ON p.pid = i.pid
LEFT JOIN (
  SELECT u.username, s.path, s.encrypted, s.key_type FROM users u CROSS JOIN user_ssh_keys s USING (uid)) k ON 1;
