-- Accounts with a session at this instant, those of cached credentials too. Neither times nor places are collected.
-- Always one row.
-- columns: account text
-- key: account
-- cost: 100ms
SELECT DISTINCT lower(a.account) AS account
FROM osquery_info i LEFT JOIN (
  SELECT user AS account FROM logon_sessions WHERE user <> ''
  UNION SELECT user FROM logged_in_users WHERE type = 'active') a ON 1;
