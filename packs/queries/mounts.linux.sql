-- File systems that are mounted, and with which options.
SELECT device, path, type, flags
FROM mounts;
