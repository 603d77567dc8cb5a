-- Accounts, with what tells whether somebody may still log in: the shell, and the day on which the account expires,
-- counted from 1970 (-1 for never). Only root may read that day; where the list could not be read it is empty.
-- columns: account text
-- key: account
SELECT lower(u.username) AS account, u.uid, u.shell, s.expire AS expires_day
FROM users u LEFT JOIN shadow s ON s.username = u.username;
