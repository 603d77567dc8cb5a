-- What Windows Security says of automatic updates, and the policy that switches them off (1; empty if not set).
-- One row; empty where Windows Security does not answer.
-- columns: no_auto_update text
SELECT o.name, w.autoupdate,
  (SELECT MAX(data) FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU'
      AND lower(name) = 'noautoupdate'
  ) AS no_auto_update
FROM os_version o LEFT JOIN windows_security_center w ON 1 = 1;
