-- When Apple's updater last installed something other than its own lists (unix seconds): one row, empty if never.
-- columns: installed_at bigint
SELECT MAX(time) AS installed_at
FROM package_install_history
WHERE source = 'softwareupdated' AND content_type <> 'config-data';
