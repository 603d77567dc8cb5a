-- What starts by itself beside what Windows brings: entries of the Run keys and Startup folders, scheduled tasks
-- outside \Microsoft\, and services, without drivers, whose program lies outside the Windows folder. No arguments.
-- Versions and accounts at the end of names of tasks and services are cut off, for they come and go. Always one row;
-- services_listed is 0 where not even Windows' own services could be listed.
-- columns: kind text, item text, path text
-- key: kind, item, path
-- cost: 1s
WITH programs_of_services AS (
  SELECT name, start_type, CASE
      WHEN substr(path, 1, 1) = '"' THEN split(path, '"', 0)
      WHEN instr(lower(path), '.exe') > 0 THEN substr(path, 1, instr(lower(path), '.exe') + 3)
      ELSE '' END AS program
    FROM services WHERE service_type NOT LIKE '%DRIVER'
), items AS (
  SELECT 'run' AS kind, name AS item, path FROM startup_items WHERE status = 'enabled'
  UNION
  SELECT 'task', rtrim(regex_split(path, '(-S-1-5-21|\{)', 0), '0123456789.'), '' FROM scheduled_tasks
    WHERE enabled = 1 AND path NOT LIKE '\Microsoft\%'
  UNION
  SELECT 'service', rtrim(name, '0123456789.'), program FROM programs_of_services
    WHERE start_type = 'AUTO_START' AND lower(program) NOT LIKE '_:\windows\%'
)
SELECT x.kind, x.item, x.path, CAST((SELECT COUNT(*) > 0 FROM services WHERE lower(name) = 'eventlog') AS INTEGER)
  AS services_listed
FROM osquery_info i LEFT JOIN items x ON 1;
