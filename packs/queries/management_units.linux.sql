-- Services and timers of configuration management that are active (a timer is while it waits), by name: one row
-- always. any_unit is 0 where systemd could not be asked.
-- columns: any_unit bigint, active text
-- cost: 200ms
WITH units AS MATERIALIZED (
  SELECT id, active_state FROM systemd_units
)
SELECT
  (SELECT COUNT(*) FROM units) > 0 AS any_unit,
  (SELECT group_concat(id, ' ') FROM (
    SELECT id FROM units
    WHERE active_state = 'active' AND id IN (
      'ansible-pull.timer', 'cfengine3.service', 'cf-execd.service', 'chef-client.service',
      'chef-client.timer', 'cinc-client.service', 'cinc-client.timer', 'landscape-client.service',
      'puppet.service', 'puppet-agent.service', 'rudder-agent.service', 'salt-minion.service',
      'venv-salt-minion.service')
    ORDER BY id)) AS active;
