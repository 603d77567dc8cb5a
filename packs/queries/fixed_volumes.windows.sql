-- Drives that keep data: those with a drive letter and a file system, fixed ones of whatever file system, and of NTFS
-- and ReFS all but the removable; and what BitLocker says of each, with empty values for a drive it does not know.
-- The description is in Windows' language: in another one sticks with NTFS are listed too, and disks with FAT are not.
-- key: path
-- volatile: percentage_encrypted
-- cost: 200ms
-- columns: path text, filesystem text, description text, conversion_status bigint, protection_status bigint, encryption_method text, percentage_encrypted bigint
WITH bitlocker AS MATERIALIZED (
  SELECT drive_letter, conversion_status, protection_status, encryption_method, percentage_encrypted
  FROM bitlocker_info)
SELECT d.device_id AS path, d.file_system AS filesystem, d.description,
  b.conversion_status, b.protection_status, b.encryption_method, b.percentage_encrypted
FROM logical_drives d LEFT JOIN bitlocker b ON b.drive_letter = d.device_id
WHERE d.file_system <> '' AND (d.description = 'Local Fixed Disk' OR (d.file_system IN ('NTFS', 'ReFS')
  AND d.description NOT IN ('Removable Disk', 'CD-ROM Disc', 'Network Connection', 'RAM Disk')));
