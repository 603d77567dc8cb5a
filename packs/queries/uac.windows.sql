-- How Windows asks before a program gets an administrator's rights. Always one row: enabled is 1 where User Account
-- Control is on; prompt is 0 where administrators are not asked at all, and empty where nobody set it (they are).
SELECT
  CAST((SELECT data FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
      AND lower(name) = 'enablelua') AS INTEGER) AS enabled,
  CAST((SELECT data FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
      AND lower(name) = 'consentpromptbehavioradmin') AS INTEGER) AS prompt;
