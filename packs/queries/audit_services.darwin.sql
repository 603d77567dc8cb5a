-- Whether macOS's log service (logd) runs, and the older audit service (auditd) beside it. Always one row:
-- processes_listed is 0 where processes could not be listed.
-- cost: 30ms
SELECT COUNT(CASE WHEN path = '/usr/libexec/logd' THEN 1 END) AS logd_running,
  COUNT(CASE WHEN path = '/usr/sbin/auditd' THEN 1 END) AS auditd_running,
  COUNT(CASE WHEN pid = 1 THEN 1 END) AS processes_listed
FROM processes;
