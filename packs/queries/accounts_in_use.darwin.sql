-- Accounts that are logged in or run something at this instant, from whatever directory they come. Neither times nor
-- places nor what they run is collected. Always one row.
-- columns: account text
-- key: account
-- cost: 100ms
SELECT DISTINCT lower(a.account) AS account
FROM osquery_info i LEFT JOIN (
  SELECT user AS account FROM logged_in_users WHERE type = 'user'
  UNION SELECT u.username FROM processes p CROSS JOIN users u ON u.uid = p.uid) a ON 1;
