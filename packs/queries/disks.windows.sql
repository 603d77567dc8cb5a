-- Disks as the system sees them. Size in bytes.
SELECT name, manufacturer AS vendor, hardware_model AS model, type, disk_size, partitions
FROM disk_info;
