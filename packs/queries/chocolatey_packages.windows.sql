-- Packages of Chocolatey.
SELECT name, version
FROM chocolatey_packages;
