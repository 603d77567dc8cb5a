-- When the device was last started, to the nearest hour: counted back from the time that it has run, the second
-- moves. Unix seconds; one row.
-- columns: booted_at bigint
SELECT (SELECT (unix_time - total_seconds + 1800) / 3600 * 3600 FROM time CROSS JOIN uptime) AS booted_at;
