-- Whether Windows logs somebody in by itself (not whom), and whether the settings of the logon could be read at all.
-- Always one row. Windows does not mind how a value's name is written, but osquery's paths do: hence lower().
-- columns: auto_login bigint, settings_read bigint
SELECT
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
      AND lower(name) = 'autoadminlogon'
  ) AS auto_login,
  (SELECT COUNT(*) > 0 FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
  ) AS settings_read;
