-- What installs updates by itself: one row always. apt_days is the interval of unattended upgrades in days
-- ("0" is never) and apt_timer the state of what starts them; installs are active timers that install, may_install
-- those whose settings, which osquery cannot read, say whether they do. any_unit is 0 where systemd did not answer.
-- cost: 700ms
-- columns: manager text, any_unit bigint, apt_files bigint, apt_days text, apt_timer text, installs text, may_install text
SELECT
  CASE
    WHEN EXISTS (SELECT 1 FROM file WHERE path = '/usr/bin/apt-get') THEN 'apt'
    WHEN EXISTS (SELECT 1 FROM file WHERE path IN ('/usr/bin/dnf', '/usr/bin/dnf5', '/usr/bin/yum')) THEN 'dnf'
    ELSE 'other'
  END AS manager,
  (SELECT COUNT(*) FROM systemd_units) > 0 AS any_unit,
  (SELECT COUNT(*) FROM file
    WHERE path IN ('/etc/apt/apt.conf.d/10periodic', '/etc/apt/apt.conf.d/20auto-upgrades')) AS apt_files,
  (SELECT value FROM augeas
    WHERE path IN ('/etc/apt/apt.conf.d/10periodic', '/etc/apt/apt.conf.d/20auto-upgrades')
      AND node LIKE '%/Periodic/Unattended-Upgrade'
    ORDER BY path DESC LIMIT 1) AS apt_days,
  (SELECT active_state FROM systemd_units WHERE id = 'apt-daily-upgrade.timer') AS apt_timer,
  (SELECT group_concat(id, ' ') FROM (
    SELECT id FROM systemd_units
    WHERE active_state = 'active' AND id IN ('dnf-automatic-install.timer', 'transactional-update.timer')
    ORDER BY id)) AS installs,
  (SELECT group_concat(id, ' ') FROM (
    SELECT id FROM systemd_units
    WHERE active_state = 'active' AND id IN (
      'dnf-automatic.timer', 'dnf5-automatic.timer', 'rpm-ostreed-automatic.timer', 'yum-cron.service')
    ORDER BY id)) AS may_install;
