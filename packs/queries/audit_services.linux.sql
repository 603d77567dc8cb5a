-- The services that keep a Linux system's logs, by the state of their units (empty for one that is not there).
-- Always one row: units_listed is 0 where systemd cannot be asked.
-- columns: auditd text, journald text, rsyslog text
-- cost: 200ms
SELECT
  MAX(CASE WHEN id = 'auditd.service' AND load_state = 'loaded' THEN active_state END) AS auditd,
  MAX(CASE WHEN id = 'systemd-journald.service' AND load_state = 'loaded' THEN active_state END) AS journald,
  MAX(CASE WHEN id IN ('rsyslog.service', 'syslog-ng.service') AND load_state = 'loaded' THEN active_state END)
    AS rsyslog,
  CAST(COUNT(*) > 0 AS INTEGER) AS units_listed
FROM systemd_units
WHERE id IN ('auditd.service', 'systemd-journald.service', 'rsyslog.service', 'syslog-ng.service', 'dbus.service');
