-- Disks as the system sees them, without their partitions and without images that are mounted. Size in blocks.
SELECT name, vendor, model, size AS blocks, block_size
FROM block_devices
WHERE parent = '' AND model NOT LIKE '%Disk Image%';
