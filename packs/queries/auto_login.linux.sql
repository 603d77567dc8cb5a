-- Whether GNOME's login screen logs somebody in by itself (not whom): how many of its files there are, how many of
-- them could be read, and how many switches are on. Always one row.
-- cost: 500ms
-- columns: files bigint, settings_read bigint, auto_login bigint
WITH setting AS MATERIALIZED (
  SELECT label, lower(value) AS value FROM augeas WHERE path IN (
    '/etc/gdm/custom.conf', '/etc/gdm3/custom.conf', '/etc/gdm3/daemon.conf'))
SELECT
  (SELECT COUNT(*) FROM file WHERE path IN (
    '/etc/gdm/custom.conf', '/etc/gdm3/custom.conf', '/etc/gdm3/daemon.conf')) AS files,
  (SELECT COUNT(*) > 0 FROM setting) AS settings_read,
  (SELECT COUNT(*) FROM setting
    WHERE label IN ('AutomaticLoginEnable', 'TimedLoginEnable') AND value IN ('true', '1')) AS auto_login;
