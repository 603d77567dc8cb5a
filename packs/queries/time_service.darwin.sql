-- Whether macOS's time service (timed) runs. Always one row: processes_listed is 0 where processes could not be
-- listed.
-- cost: 30ms
SELECT COUNT(CASE WHEN path = '/usr/libexec/timed' THEN 1 END) AS running,
  COUNT(CASE WHEN pid = 1 THEN 1 END) AS processes_listed
FROM processes;
