-- The event log of Windows. Always one row: what its service does and how it starts, and script_block_logging,
-- which is 0 where a policy switches the log of PowerShell's scripts off and empty where no policy speaks of it.
-- columns: event_log text, start_type text
-- cost: 100ms
SELECT
  (SELECT status FROM services WHERE lower(name) = 'eventlog') AS event_log,
  (SELECT start_type FROM services WHERE lower(name) = 'eventlog') AS start_type,
  CAST((SELECT data FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\PowerShell\ScriptBlockLogging'
      AND lower(name) = 'enablescriptblocklogging'
  ) AS INTEGER) AS script_block_logging;
