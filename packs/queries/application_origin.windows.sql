-- Whether policies have Windows check where a program comes from: SmartScreen (1 on, 0 off, empty where no policy
-- says), and App Control for the kernel and for programs. Always one row.
-- columns: smart_screen bigint, smart_screen_level text, kernel_code_policy text, program_policy text
SELECT
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\System'
      AND lower(name) = 'enablesmartscreen') AS smart_screen,
  (SELECT data FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\System'
      AND lower(name) = 'shellsmartscreenlevel'
  ) AS smart_screen_level,
  (SELECT code_integrity_policy_enforcement_status FROM deviceguard_status) AS kernel_code_policy,
  (SELECT umci_policy_status FROM deviceguard_status) AS program_policy;
