-- The drive Windows runs from, and what BitLocker says of it; empty values for a drive it does not know.
-- volatile: percentage_encrypted
SELECT d.device_id AS path, d.file_system AS filesystem, b.conversion_status, b.protection_status,
  b.encryption_method, b.percentage_encrypted
FROM logical_drives d LEFT JOIN bitlocker_info b ON b.drive_letter = d.device_id
WHERE d.boot_partition = 1;
