-- What starts by itself beside what macOS brings: launch daemons and agents of the device and of its accounts, and
-- login items. No arguments. Always one row; system_listed is 0 where macOS's own could not be listed either.
-- columns: kind text, item text, path text
-- key: kind, item, path
-- cost: 500ms
WITH items AS (
  SELECT 'launchd' AS kind, label AS item,
    coalesce(nullif(program, ''), split(program_arguments, ' ', 0)) AS path FROM launchd
    WHERE path NOT LIKE '/System/%' AND path NOT LIKE '/Library/Apple/%'
  UNION
  SELECT 'login item', name, path FROM startup_items
    WHERE path NOT LIKE '/System/%' AND (type LIKE '%login item%' OR type LIKE '%app%' OR type = 'Startup Item')
)
SELECT x.kind, x.item, x.path, CAST((SELECT COUNT(*) > 0 FROM launchd WHERE path LIKE '/System/%') AS INTEGER)
  AS system_listed
FROM osquery_info i LEFT JOIN items x ON 1;
