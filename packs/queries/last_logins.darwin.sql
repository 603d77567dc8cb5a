-- Accounts of people (and root) with when each last logged in, in seconds, to the beginning of the week: enough to
-- tell a dormant account, and not when somebody works. Who is logged in now counts as of now. last_login is empty
-- for one never seen in the records, which begin at records_from; changed_at is when it was made or its password
-- last set.
-- columns: account text
-- key: account
-- cost: 50ms
SELECT u.uid, u.username AS account,
  CAST(coalesce(
    (SELECT unix_time FROM time WHERE EXISTS (
      SELECT 1 FROM logged_in_users n WHERE n.user = u.username AND n.type = 'user')),
    (SELECT MAX(time) FROM last l WHERE l.username = u.username)) / 604800 * 604800 AS INTEGER) AS last_login,
  CAST((SELECT MIN(time) FROM last) / 604800 * 604800 AS INTEGER) AS records_from,
  CAST(max(coalesce(p.creation_time, 0), coalesce(p.password_last_set_time, 0)) AS INTEGER) AS changed_at
FROM users u LEFT JOIN account_policy_data p ON p.uid = u.uid
WHERE u.uid = 0 OR (u.uid BETWEEN 500 AND 100000 AND u.is_hidden = 0
  AND u.shell NOT IN ('/usr/bin/false', '/bin/false'));
