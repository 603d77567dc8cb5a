-- Accounts made on this machine, and those from elsewhere that left a profile (kind roaming). Whether one is disabled
-- cannot be told.
-- columns: account text
-- key: account
SELECT lower(username) AS account, uid, type AS kind
FROM users;
