-- The signatures of ClamAV: how many of its daily databases there are, and the instant at which the week began in which
-- the newest was written. Always one row.
-- columns: databases bigint, newest_week bigint
SELECT COUNT(*) AS databases, MAX(mtime) / 604800 * 604800 AS newest_week
FROM file WHERE path IN ('/var/lib/clamav/daily.cld', '/var/lib/clamav/daily.cvd');
