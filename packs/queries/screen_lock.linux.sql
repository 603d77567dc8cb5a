-- The files that hold every GNOME session to the company's screen lock: digests of dconf's profile, of the settings
-- and of the locks on them, when the newest of these was written, and when they were last compiled (dconf reads
-- only what is compiled). And whether graphical sessions, and GNOME's, are installed. Always one row.
-- columns: desktop bigint, gnome bigint, profile_sha256 text, settings_sha256 text, locks_sha256 text, written_at bigint, compiled_at bigint
SELECT
  (SELECT COUNT(*) > 0 FROM file WHERE path LIKE '/usr/share/xsessions/%.desktop')
    OR (SELECT COUNT(*) > 0 FROM file WHERE path LIKE '/usr/share/wayland-sessions/%.desktop') AS desktop,
  (SELECT COUNT(*) FROM file WHERE path = '/usr/bin/gnome-shell') AS gnome,
  (SELECT sha256 FROM hash WHERE path = '/etc/dconf/profile/user') AS profile_sha256,
  (SELECT sha256 FROM hash WHERE path = '/etc/dconf/db/local.d/00-screen-lock') AS settings_sha256,
  (SELECT sha256 FROM hash WHERE path = '/etc/dconf/db/local.d/locks/00-screen-lock') AS locks_sha256,
  (SELECT MAX(mtime) FROM file WHERE path IN (
    '/etc/dconf/db/local.d/00-screen-lock', '/etc/dconf/db/local.d/locks/00-screen-lock')) AS written_at,
  (SELECT mtime FROM file WHERE path = '/etc/dconf/db/local') AS compiled_at;
