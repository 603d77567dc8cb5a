-- Packages in dpkg's database, those included that were removed but left their configuration (see status).
SELECT name, version, source, arch, revision, status
FROM deb_packages;
