-- What a Linux firewall shows of itself. Always one row: ufw's switch and what it does with what comes in (empty
-- where they cannot be read), the states of the units that load rules (empty where there is no such unit), the
-- policy of the INPUT chain in the kernel's older tables (DROP, too, where a rule drops or rejects whatever is left),
-- and units_listed, which is 0 where systemd cannot be asked.
-- columns: ufw_enabled text, ufw_input text, ufw_state text, firewalld_state text, nftables_state text, iptables_state text
-- cost: 600ms
SELECT
  (SELECT lower(MAX(value)) FROM augeas WHERE path = '/etc/ufw/ufw.conf' AND label = 'ENABLED') AS ufw_enabled,
  (SELECT lower(MAX(replace(value, '"', ''))) FROM augeas
    WHERE path = '/etc/default/ufw' AND label = 'DEFAULT_INPUT_POLICY') AS ufw_input,
  MAX(CASE WHEN id = 'ufw.service' THEN active_state END) AS ufw_state,
  MAX(CASE WHEN id = 'firewalld.service' THEN active_state END) AS firewalld_state,
  MAX(CASE WHEN id = 'nftables.service' THEN active_state END) AS nftables_state,
  MAX(CASE WHEN id IN ('iptables.service', 'netfilter-persistent.service') THEN active_state END) AS iptables_state,
  CAST((SELECT CASE
      WHEN SUM(target IN ('DROP', 'REJECT') AND match = 'no' AND protocol = '0' AND iniface = 'all'
        AND src_mask = '0.0.0.0' AND dst_mask = '0.0.0.0') > 0 THEN 'DROP'
      ELSE MAX(policy) END
    FROM iptables WHERE filter_name = 'filter' AND chain = 'INPUT') AS TEXT) AS input_policy,
  CAST(COUNT(*) > 0 AS INTEGER) AS units_listed
FROM systemd_units
WHERE id IN ('ufw.service', 'firewalld.service', 'nftables.service', 'iptables.service', 'netfilter-persistent.service',
  'dbus.service', 'systemd-journald.service');
