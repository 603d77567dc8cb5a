-- Accounts, with the shell: macOS tells osquery nothing else of whether somebody may still log in.
-- columns: account text
-- key: account
SELECT lower(username) AS account, uid, shell
FROM users;
