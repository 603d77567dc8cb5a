-- When the device was last started, to the nearest hour (counted back from the time that it has run, the second
-- moves), and since when an update waits for a restart, empty if none does. Unix seconds; one row.
-- columns: booted_at bigint, restart_pending_since bigint
SELECT
  (SELECT (unix_time - total_seconds + 1800) / 3600 * 3600 FROM time CROSS JOIN uptime) AS booted_at,
  (SELECT MIN(mtime) FROM registry
    WHERE key IN (
        'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update',
        'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing')
      AND name IN ('RebootRequired', 'RebootPending') AND type = 'subkey'
  ) AS restart_pending_since;
