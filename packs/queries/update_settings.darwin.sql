-- Whether macOS looks for, loads and installs updates by itself: a profile's word, else the Mac's own setting, else
-- empty (the default of that macOS). Always one row.
-- columns: automatic_check text, automatic_download text, critical_updates text, macos_updates text
WITH setting AS (
  SELECT name, value, 1 AS place FROM managed_policies
  WHERE domain = 'com.apple.SoftwareUpdate' AND username = ''
  UNION ALL
  SELECT key, value, 2 FROM plist
  WHERE path = '/Library/Preferences/com.apple.SoftwareUpdate.plist')
SELECT
  (SELECT value FROM setting WHERE name = 'AutomaticCheckEnabled' ORDER BY place LIMIT 1) AS automatic_check,
  (SELECT value FROM setting WHERE name = 'AutomaticDownload' ORDER BY place LIMIT 1) AS automatic_download,
  (SELECT value FROM setting WHERE name = 'CriticalUpdateInstall' ORDER BY place LIMIT 1) AS critical_updates,
  (SELECT value FROM setting WHERE name = 'AutomaticallyInstallMacOSUpdates' ORDER BY place LIMIT 1)
    AS macos_updates;
