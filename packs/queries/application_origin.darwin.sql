-- Whether Gatekeeper assesses applications: as osquery reports it, and the switch in Gatekeeper's own settings (empty
-- where there is none), and whether there is a file of those settings; a Mac is delivered without. Always one row.
-- columns: assessments_enabled bigint, switched text, settings_file bigint, version text
SELECT g.assessments_enabled,
  CASE WHEN o.major >= 15
    THEN (SELECT MIN(lower(value)) FROM plist
      WHERE path = '/var/db/SystemPolicyConfiguration/SystemPolicy-prefs.plist' AND key = 'enabled')
    ELSE (SELECT MIN(lower(value)) FROM plist
      WHERE path = '/var/db/SystemPolicy-prefs.plist' AND key = 'enabled') END AS switched,
  CASE WHEN o.major >= 15
    THEN (SELECT COUNT(*) FROM file WHERE path = '/var/db/SystemPolicyConfiguration/SystemPolicy-prefs.plist')
    ELSE (SELECT COUNT(*) FROM file WHERE path = '/var/db/SystemPolicy-prefs.plist') END AS settings_file,
  g.version
FROM os_version o LEFT JOIN gatekeeper g ON 1 = 1;
