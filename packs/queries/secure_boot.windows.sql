-- Whether the firmware is UEFI and starts signed code only (1, 0, -1 or empty where it could not be read).
-- Always one row.
-- columns: firmware text, secure_boot bigint, setup_mode bigint
SELECT (SELECT MAX(firmware_type) FROM platform_info) AS firmware, s.secure_boot, s.setup_mode
FROM osquery_info i LEFT JOIN secureboot s ON 1 = 1;
