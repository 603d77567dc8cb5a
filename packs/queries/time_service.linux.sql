-- The services that keep a Linux clock, by the state of their units. Always one row: running counts those that
-- are active, and units_listed is 0 where systemd cannot be asked.
-- columns: services text
-- cost: 200ms
SELECT COUNT(CASE WHEN active_state = 'active' AND id IN ('systemd-timesyncd.service', 'chronyd.service',
    'chrony.service', 'ntpd.service', 'ntp.service', 'ntpsec.service', 'ntpd-rs.service',
    'openntpd.service') THEN 1 END) AS running,
  group_concat(CASE WHEN active_state = 'active' AND id NOT IN ('dbus.service', 'systemd-journald.service')
    THEN id END) AS services,
  CAST(COUNT(*) > 0 AS INTEGER) AS units_listed
FROM systemd_units
WHERE id IN ('systemd-timesyncd.service', 'chronyd.service', 'chrony.service', 'ntpd.service', 'ntp.service',
  'ntpsec.service', 'ntpd-rs.service', 'openntpd.service', 'dbus.service', 'systemd-journald.service');
