-- Whether the login window lets guests in: its own switch, and a profile that forbids it. Always one row.
-- columns: guest_enabled text, disabled_by_profile text
SELECT
  (SELECT value FROM plist
    WHERE path = '/Library/Preferences/com.apple.loginwindow.plist' AND key = 'GuestEnabled'
  ) AS guest_enabled,
  (SELECT MAX(value) FROM managed_policies
    WHERE domain = 'com.apple.MCX' AND name = 'DisableGuestAccount' AND username = ''
  ) AS disabled_by_profile;
