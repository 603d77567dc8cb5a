-- How strictly the Mac checks what it starts: on Intel the mode (1 full, 2 medium, 0 none, empty without a T2 chip), on
-- Apple silicon the description. Always one row.
-- columns: processor text, answered bigint, secure_boot bigint, secure_mode bigint, description text, kernel_extensions bigint
SELECT (SELECT MAX(cpu_type) FROM system_info) AS processor,
  (SELECT COUNT(*) FROM secureboot) AS answered,
  s.secure_boot, s.secure_mode, s.description, s.kernel_extensions
FROM osquery_info i LEFT JOIN secureboot s ON 1 = 1;
