-- Packages and applications of Homebrew.
SELECT name, version, type
FROM homebrew_packages;
