-- Whether each account has a password: active, locked, not_set or empty; from the list only root may read, and
-- without the hash. Always one row: with an empty account where that list could not be read.
-- key: account
SELECT s.username AS account, s.password_status AS state, s.expire AS expires_day
FROM osquery_info i LEFT JOIN shadow s ON 1;
