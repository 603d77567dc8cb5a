-- What starts by itself beside what the distribution's packages bring as units: enabled systemd units that lie in
-- /etc, files of cron with the programs they start (their first words alone: command lines carry passwords; none
-- where a variable is set first),
-- scripts in init.d and desktop autostart entries. Always one row; units_listed is 0 where systemd cannot be asked.
-- columns: kind text, item text, path text
-- key: kind, item, path
-- cost: 500ms
WITH units AS MATERIALIZED (
  SELECT id, fragment_path, unit_file_state FROM systemd_units
), items AS (
  SELECT 'systemd' AS kind, id AS item, fragment_path AS path FROM units
    WHERE unit_file_state = 'enabled' AND fragment_path LIKE '/etc/systemd/%'
  UNION
  SELECT 'cron', path, CASE WHEN instr(program, '=') = 0 THEN program END FROM (
    SELECT path, split(command, ' ', CASE WHEN path LIKE '/var/spool/%' THEN 0 ELSE 1 END) AS program FROM crontab)
  UNION
  SELECT CASE WHEN source = '/etc/init.d/' THEN 'init' ELSE 'desktop' END, coalesce(nullif(name, ''), path),
    split(path, ' ', 0) FROM startup_items WHERE type = 'Startup Item'
)
SELECT x.kind, x.item, x.path, CAST((SELECT COUNT(*) > 0 FROM units) AS INTEGER) AS units_listed
FROM osquery_info i LEFT JOIN items x ON 1;
