-- Disks as the system sees them, without their partitions, loops and memory. Size in blocks.
SELECT name, vendor, model, size AS blocks, block_size
FROM block_devices
WHERE parent = '' AND size > 0
  AND name NOT LIKE '/dev/loop%' AND name NOT LIKE '/dev/ram%' AND name NOT LIKE '/dev/zram%'
  AND name NOT LIKE '/dev/dm-%';
