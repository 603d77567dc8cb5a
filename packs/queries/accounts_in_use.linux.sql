-- Accounts that are logged in or run something at this instant, from whatever directory they come, without the domain
-- that some directories write around the name. Neither times nor places nor what they run is collected. Always one
-- row. osquery looks into directories from 5.13 on only where include_remote says so.
-- columns: account text
-- key: account
-- cost: 100ms
SELECT DISTINCT lower(split(substr(a.account, instr(a.account, '\') + 1), '@', 0)) AS account
FROM osquery_info i LEFT JOIN (
  SELECT user AS account FROM logged_in_users WHERE type = 'user' AND user <> ''
  UNION SELECT u.username FROM processes p CROSS JOIN users u ON u.uid = p.uid AND u.include_remote = 1) a ON 1;
