-- Drive letters and what is behind them; boot_partition is 1 for the drive Windows runs from. A size of -1 is
-- one that is not known.
-- volatile: free_space
SELECT device_id AS drive, description, file_system, size, free_space, boot_partition
FROM logical_drives;
