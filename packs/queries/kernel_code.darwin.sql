-- System extensions, each with the team that signed it and whether it runs, and kernel extensions that are loaded and
-- not Apple's own. One row more, with the source "system", says whether kernel extensions could be listed.
-- key: source, name
-- cost: 80ms
-- columns: source text, name text, team text, version text, running bigint
WITH running AS MATERIALIZED (
  SELECT DISTINCT regex_match(path, '([^/]+)[.]systemextension/', 1) AS identifier FROM processes
  WHERE path LIKE '/Library/SystemExtensions/%')
SELECT DISTINCT 'system extension' AS source, e.identifier AS name, e.team, e.version,
  r.identifier IS NOT NULL AS running
FROM system_extensions e LEFT JOIN running r ON r.identifier = e.identifier
UNION ALL
SELECT 'kernel extension' AS source, name, '' AS team, version, 1 AS running
FROM kernel_extensions WHERE name NOT LIKE 'com.apple.%' AND name NOT LIKE '\_\_%' ESCAPE '\'
UNION ALL
SELECT 'system' AS source, '' AS name, '' AS team, '' AS version, COUNT(*) > 0 AS running FROM kernel_extensions;
