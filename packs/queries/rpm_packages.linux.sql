-- Packages in the RPM database.
SELECT name, epoch, version, release, arch, source, vendor, install_time
FROM rpm_packages;
