-- Services that start with the system in a process of their own, and whether they run.
-- key: name
-- cost: 50ms
SELECT name, display_name, status, start_type, path
FROM services
WHERE start_type = 'AUTO_START' AND service_type NOT LIKE '%DRIVER' AND path NOT LIKE '%\svchost.exe%';
