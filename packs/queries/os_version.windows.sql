-- The operating system: one row. On Windows the build says which release it is; build_number can be compared.
SELECT name, version, major, minor, patch, build, platform, arch, CAST(build AS INTEGER) AS build_number
FROM os_version;
