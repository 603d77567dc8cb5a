-- The operating system: one row.
SELECT name, version, major, minor, patch, build, platform, arch
FROM os_version;
