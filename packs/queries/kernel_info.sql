-- The kernel that runs.
SELECT version
FROM kernel_info;
