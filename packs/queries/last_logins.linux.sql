-- Accounts of people (and root) with when each last logged in, in seconds, to the beginning of the week: enough to
-- tell a dormant account, and not when somebody works. Who is logged in now counts as of now. last_login is empty
-- for one never seen in the records, which begin at records_from (empty where there are none: newer distributions
-- keep them elsewhere). changed_at is when its password was last set, to the day; expires_day counts days since
-- 1970, -1 or empty for never.
-- columns: account text, changed_at bigint
-- key: account
-- cost: 50ms
SELECT u.uid, u.username AS account,
  CAST(coalesce(
    (SELECT unix_time FROM time WHERE EXISTS (
      SELECT 1 FROM logged_in_users n WHERE n.user = u.username AND n.type = 'user')),
    (SELECT MAX(time) FROM last l WHERE l.username = u.username)) / 604800 * 604800 AS INTEGER) AS last_login,
  CAST((SELECT MIN(time) FROM last) / 604800 * 604800 AS INTEGER) AS records_from,
  s.last_change * 86400 AS changed_at, s.expire AS expires_day
FROM users u LEFT JOIN shadow s ON s.username = u.username
WHERE u.uid = 0 OR (u.uid BETWEEN 1000 AND 60000 AND u.shell NOT IN (
  '/usr/sbin/nologin', '/sbin/nologin', '/usr/bin/nologin', '/bin/false', '/usr/bin/false'));
