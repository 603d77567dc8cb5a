-- When the device was last started, to the nearest hour (counted back from the time that it has run, the second
-- moves), and since when Debian's family wants a restart, empty if it does not. Unix seconds; one row.
-- columns: booted_at bigint, restart_pending_since bigint
SELECT
  (SELECT (unix_time - total_seconds + 1800) / 3600 * 3600 FROM time CROSS JOIN uptime) AS booted_at,
  (SELECT mtime FROM file WHERE path = '/run/reboot-required') AS restart_pending_since;
