-- Volumes that keep data: the data volume of the system and every other volume of a disk that can be written to,
-- but for those the system keeps for itself and disk images, which lie on one of the others; and whether each is
-- encrypted.
-- key: path
-- cost: 60ms
-- columns: path text, device text, filesystem text, encrypted bigint, encryption_status text, filevault_status text, encryption_type text
WITH encryption AS MATERIALIZED (
  SELECT name, encrypted, encryption_status, filevault_status, type FROM disk_encryption)
SELECT m.path, m.device, m.type AS filesystem,
  e.encrypted, e.encryption_status, e.filevault_status, e.type AS encryption_type
FROM mounts m LEFT JOIN encryption e ON e.name = m.device
WHERE m.type IN ('apfs', 'hfs') AND m.device LIKE '/dev/disk%'
  AND (CAST(m.flags AS INTEGER) & 1) = 0
  AND m.path <> '/' AND (m.path = '/System/Volumes/Data' OR m.path NOT LIKE '/System/Volumes/%')
  AND m.device NOT IN (SELECT name FROM block_devices WHERE model LIKE '%Disk Image%');
