-- Whether the firmware is UEFI and starts signed code only (1, 0, -1 or empty where it could not be read).
-- Always one row.
-- columns: uefi bigint, secure_boot bigint, setup_mode bigint
SELECT (SELECT COUNT(*) FROM file WHERE path = '/sys/firmware/efi') AS uefi, s.secure_boot, s.setup_mode
FROM osquery_info i LEFT JOIN secureboot s ON 1 = 1;
