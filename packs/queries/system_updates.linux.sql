-- When packages last changed (unix seconds): dpkg's list of them was written, and the newest RPM package installed.
-- One row; empty for a package manager that is not in use. The RPM database is opened only where there is one.
-- cost: 500ms
-- columns: rpm_installed_at bigint, dpkg_changed_at bigint
SELECT
  (SELECT mtime FROM file WHERE path = '/var/lib/dpkg/status' AND size > 0) AS dpkg_changed_at,
  (SELECT MAX(install_time) FROM rpm_packages WHERE EXISTS (
    SELECT 1 FROM file WHERE size > 0 AND path IN (
      '/var/lib/rpm/rpmdb.sqlite', '/var/lib/rpm/Packages', '/var/lib/rpm/Packages.db',
      '/usr/lib/sysimage/rpm/rpmdb.sqlite', '/usr/lib/sysimage/rpm/Packages',
      '/usr/lib/sysimage/rpm/Packages.db', '/usr/share/rpm/rpmdb.sqlite', '/usr/share/rpm/Packages'))
  ) AS rpm_installed_at;
