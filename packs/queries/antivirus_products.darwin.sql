-- Protection against malware: the one macOS brings (XProtect; it runs if its definitions can be read), and system
-- extensions, each with the team that signed it; 1 is one that runs.
-- key: source, name
-- cost: 80ms
-- columns: source text, name text, team text, running bigint
WITH running AS MATERIALIZED (
  SELECT DISTINCT regex_match(path, '([^/]+)[.]systemextension/', 1) AS identifier FROM processes
  WHERE path LIKE '/Library/SystemExtensions/%')
SELECT 'built-in' AS source, 'XProtect' AS name, '' AS team, (SELECT COUNT(*) > 0 FROM xprotect_entries) AS running
UNION ALL
SELECT DISTINCT 'extension' AS source, e.identifier AS name, e.team, r.identifier IS NOT NULL AS running
FROM system_extensions e LEFT JOIN running r ON r.identifier = e.identifier;
