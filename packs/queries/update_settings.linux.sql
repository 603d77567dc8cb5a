-- What installs updates by itself: one row always. apt_days is the interval of unattended upgrades in days ("0" is
-- never, also where all that APT does by itself is switched off), as the last of APT's files that name it says;
-- apt_upgrader is 1 where the program that does it is there, and apt_timer the state of what starts it. apt_unread
-- counts the usual files of that setting that could not be read. installs are active timers that install, may_install
-- those whose settings, which osquery cannot read, say whether they do. any_unit is 0 where systemd did not answer.
-- cost: 700ms
-- columns: manager text, any_unit bigint, apt_unread bigint, apt_days text, apt_upgrader bigint, apt_timer text, installs text, may_install text
WITH units AS MATERIALIZED (
  SELECT id, active_state FROM systemd_units
), apt AS MATERIALIZED (
  SELECT path, node, value FROM augeas WHERE path LIKE '/etc/apt/apt.conf.d/%%'
)
SELECT
  CASE
    WHEN EXISTS (SELECT 1 FROM file WHERE path = '/usr/bin/apt-get') THEN 'apt'
    WHEN EXISTS (SELECT 1 FROM file WHERE path IN ('/usr/bin/dnf', '/usr/bin/dnf5', '/usr/bin/yum')) THEN 'dnf'
    ELSE 'other'
  END AS manager,
  (SELECT COUNT(*) FROM units) > 0 AS any_unit,
  (SELECT COUNT(*) FROM file
    WHERE path IN ('/etc/apt/apt.conf.d/10periodic', '/etc/apt/apt.conf.d/20auto-upgrades')
      AND path NOT IN (SELECT path FROM apt)) AS apt_unread,
  CASE (SELECT value FROM apt WHERE node LIKE '%/Periodic/Enable' ORDER BY path DESC LIMIT 1) WHEN '0' THEN '0'
    ELSE (SELECT value FROM apt WHERE node LIKE '%/Periodic/Unattended-Upgrade' ORDER BY path DESC LIMIT 1)
  END AS apt_days,
  (SELECT COUNT(*) FROM file WHERE path = '/usr/bin/unattended-upgrade') AS apt_upgrader,
  (SELECT active_state FROM units WHERE id = 'apt-daily-upgrade.timer') AS apt_timer,
  (SELECT group_concat(id, ' ') FROM (
    SELECT id FROM units
    WHERE active_state = 'active' AND id IN ('dnf-automatic-install.timer', 'transactional-update.timer')
    ORDER BY id)) AS installs,
  (SELECT group_concat(id, ' ') FROM (
    SELECT id FROM units
    WHERE active_state = 'active' AND id IN (
      'dnf-automatic.timer', 'dnf5-automatic.timer', 'rpm-ostreed-automatic.timer', 'yum-cron.service')
    ORDER BY id)) AS may_install;
