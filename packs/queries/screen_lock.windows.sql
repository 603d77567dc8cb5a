-- After how many idle seconds the machine locks, and the weakest screen saver among the people logged in: whether it
-- is on and asks for a password, and the shortest and longest wait (0 where one is not set). Policies go before
-- a person's own settings. Empty values where nobody is logged in. Always one row.
-- cost: 50ms
-- columns: inactivity_seconds bigint, saver_locks bigint, saver_seconds_least bigint, saver_seconds_most bigint
WITH setting AS (
  SELECT split(path, '\', 1) AS sid, lower(name) AS name, data, 0 AS policy FROM registry
    WHERE path LIKE 'HKEY_USERS\%\Control Panel\Desktop\SC%'
  UNION ALL
  SELECT split(path, '\', 1) AS sid, lower(name) AS name, data, 1 AS policy FROM registry
    WHERE path LIKE 'HKEY_USERS\%\SOFTWARE\Policies\Microsoft\Windows\Control Panel\Desktop\SC%'),
person AS (
  SELECT sid,
    coalesce(MAX(CASE WHEN policy = 1 AND name = 'screensaveactive' THEN data END),
      MAX(CASE WHEN policy = 0 AND name = 'screensaveactive' THEN data END)) AS active,
    coalesce(MAX(CASE WHEN policy = 1 AND name = 'screensaverissecure' THEN data END),
      MAX(CASE WHEN policy = 0 AND name = 'screensaverissecure' THEN data END)) AS secure,
    coalesce(MAX(CASE WHEN policy = 1 AND name = 'scrnsave.exe' THEN data END),
      MAX(CASE WHEN policy = 0 AND name = 'scrnsave.exe' THEN data END)) AS saver,
    coalesce(MAX(CASE WHEN policy = 1 AND name = 'screensavetimeout' THEN data END),
      MAX(CASE WHEN policy = 0 AND name = 'screensavetimeout' THEN data END), '0') AS seconds
  FROM setting WHERE sid LIKE 'S-1-5-21-%' OR sid LIKE 'S-1-12-1-%' GROUP BY sid)
SELECT
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
      AND lower(name) = 'inactivitytimeoutsecs'
  ) AS inactivity_seconds,
  MIN(CASE WHEN active = '1' AND secure = '1' AND saver <> '' THEN 1 ELSE 0 END) AS saver_locks,
  MIN(CAST(seconds AS INTEGER)) AS saver_seconds_least,
  MAX(CAST(seconds AS INTEGER)) AS saver_seconds_most
FROM person;
