-- Protection against malware: on a workstation the products Windows Security Center knows, or one row without a name
-- where it knows none, and how the Center calls the whole; on a server, which has no Center, a row without a name
-- and the services that start with the system in a process of their own.
-- key: source, name
-- cost: 100ms
-- columns: source text, server bigint, name text, state text, signatures_up_to_date bigint, center text
WITH machine AS MATERIALIZED (SELECT CASE WHEN name LIKE '%Server%' THEN 1 ELSE 0 END AS server FROM os_version)
SELECT 'product' AS source, m.server, p.name, p.state, p.signatures_up_to_date, c.antivirus AS center
FROM machine m JOIN windows_security_center c LEFT JOIN windows_security_products p ON p.type = 'Antivirus'
UNION ALL
SELECT 'service' AS source, m.server, s.name, s.status AS state, NULL AS signatures_up_to_date, '' AS center
FROM machine m JOIN services s
WHERE m.server = 1 AND s.start_type = 'AUTO_START' AND s.service_type NOT LIKE '%DRIVER'
  AND s.path NOT LIKE '%\svchost.exe%';
