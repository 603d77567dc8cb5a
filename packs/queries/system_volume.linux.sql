-- The volume the system runs from, and whether it is encrypted. The plus sign keeps the join from narrowing
-- what disk_encryption looks at: older releases then lost what a volume inherits from the device below it.
SELECT m.path, m.device, m.device_alias, m.type AS filesystem, e.encrypted, e.encryption_status,
  e.type AS encryption_type
FROM mounts m LEFT JOIN disk_encryption e ON +e.name = m.device_alias
WHERE m.path = '/' AND m.type <> 'rootfs';
