-- Volumes that keep data: one row for each block device with a file system that is mounted, but for what the machine
-- starts from (/boot, /efi), loop devices and removable media (what is mounted below /media or /run/media), and one for
-- each device that holds swap; and whether each is encrypted.
-- key: path
-- cost: 60ms
-- columns: path text, device text, filesystem text, encrypted bigint, encryption_status text, encryption_type text
WITH encryption AS MATERIALIZED (SELECT name, encrypted, encryption_status, type FROM disk_encryption)
SELECT MIN(m.path) AS path, m.device_alias AS device, m.type AS filesystem,
  e.encrypted, e.encryption_status, e.type AS encryption_type
FROM mounts m LEFT JOIN encryption e ON e.name = m.device_alias
WHERE m.type IN ('ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'jfs', 'reiserfs', 'bcachefs', 'zfs',
    'ntfs3', 'fuseblk', 'exfat', 'vfat')
  AND m.device_alias NOT LIKE '/dev/loop%'
  AND m.path NOT IN ('/boot', '/efi') AND m.path NOT LIKE '/boot/%'
  AND m.path NOT LIKE '/media/%' AND m.path NOT LIKE '/run/media/%'
GROUP BY m.device_alias
UNION ALL
SELECT 'swap' AS path, b.name AS device, b.type AS filesystem,
  e.encrypted, e.encryption_status, e.type AS encryption_type
FROM block_devices b LEFT JOIN encryption e ON e.name = b.name
WHERE b.type = 'swap' AND b.name NOT LIKE '/dev/zram%';
