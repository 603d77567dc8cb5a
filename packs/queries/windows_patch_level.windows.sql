-- The build of Windows with its revision, which each month's update raises: one row.
-- key: name
-- columns: patch_level text
SELECT name, CAST(build AS INTEGER) AS build_number, revision, build || '.' || revision AS patch_level
FROM os_version;
