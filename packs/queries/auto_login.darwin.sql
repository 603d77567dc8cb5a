-- Whether the login window logs somebody in by itself (not whom), whether a profile forbids it, and whether
-- the settings of the login window could be read at all. Always one row.
-- columns: auto_login bigint, forbidden bigint, settings_read bigint
SELECT
  (SELECT COUNT(*) FROM plist
    WHERE path = '/Library/Preferences/com.apple.loginwindow.plist' AND key = 'autoLoginUser' AND value <> ''
  ) AS auto_login,
  (SELECT COUNT(*) FROM managed_policies
    WHERE domain = 'com.apple.loginwindow' AND name = 'com.apple.login.mcx.DisableAutoLoginClient'
      AND lower(value) IN ('1', 'true') AND username = ''
  ) AS forbidden,
  (SELECT COUNT(*) > 0 FROM plist WHERE path = '/Library/Preferences/com.apple.loginwindow.plist') AS settings_read;
