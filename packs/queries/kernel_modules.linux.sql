-- Kernel modules that are loaded; what is built into the kernel is not among them.
-- key: name
SELECT name, size
FROM kernel_modules;
