-- Installed packages of dpkg and RPM that may be programs, by their names: libraries, modules of languages, headers,
-- documentation, fonts and translations are left out. The version is the maker's, without epoch.
-- key: manager, name
-- cost: 500ms
-- columns: manager text, version text
SELECT DISTINCT 'dpkg' AS manager, name, substr(version, instr(version, ':') + 1) AS version
FROM deb_packages
WHERE EXISTS (SELECT 1 FROM file WHERE path = '/var/lib/dpkg/status' AND size > 0)
  AND status LIKE '% installed' AND name NOT LIKE 'lib%' AND name NOT LIKE 'python3-%' AND name NOT LIKE 'gir1.2-%'
  AND name NOT LIKE 'fonts-%' AND name NOT LIKE 'language-pack-%' AND name NOT LIKE '%-dev' AND name NOT LIKE '%-doc'
  AND name NOT LIKE '%-data' AND name NOT LIKE '%-common' AND name NOT LIKE '%-l10n%' AND name NOT LIKE '%-locale%'
UNION ALL
SELECT DISTINCT 'rpm', name, version
FROM rpm_packages
WHERE EXISTS (
    SELECT 1 FROM file WHERE size > 0 AND path IN (
      '/var/lib/rpm/rpmdb.sqlite', '/var/lib/rpm/Packages', '/var/lib/rpm/Packages.db',
      '/usr/lib/sysimage/rpm/rpmdb.sqlite', '/usr/lib/sysimage/rpm/Packages',
      '/usr/lib/sysimage/rpm/Packages.db', '/usr/share/rpm/rpmdb.sqlite', '/usr/share/rpm/Packages'))
  AND name NOT LIKE 'lib%' AND name NOT LIKE 'python3-%' AND name NOT LIKE 'perl-%' AND name NOT LIKE 'glibc-langpack-%'
  AND name NOT LIKE '%-fonts' AND name NOT LIKE '%-libs' AND name NOT LIKE '%-devel' AND name NOT LIKE '%-doc'
  AND name NOT LIKE '%-data' AND name NOT LIKE '%-common' AND name NOT LIKE '%-langpack-%';
