-- When macOS last installed definitions of XProtect: the instant at which that week began. Always one row.
-- columns: newest_week bigint
SELECT MAX(CAST(time AS INTEGER)) / 604800 * 604800 AS newest_week
FROM package_install_history WHERE name LIKE 'XProtect%';
