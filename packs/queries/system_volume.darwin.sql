-- The volume that tells whether FileVault is on: the data volume, or the system volume if only that one can.
SELECT m.path, m.device, m.type AS filesystem, e.encrypted, e.encryption_status, e.filevault_status
FROM mounts m LEFT JOIN disk_encryption e ON +e.name = m.device
WHERE m.path IN ('/', '/System/Volumes/Data')
ORDER BY e.filevault_status IN ('on', 'off') DESC, m.path DESC
LIMIT 1;
