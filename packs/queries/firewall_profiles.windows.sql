-- The Windows firewall's profiles, a row each (StandardProfile is the private one), as the registry has them;
-- what a policy says goes before what was set on the device. default_inbound is 1 for block, 0 for allow, and
-- empty where nobody set it.
-- columns: profile text
-- key: profile
-- cost: 20ms
WITH profiles (profile) AS (VALUES ('DomainProfile'), ('StandardProfile'), ('PublicProfile'))
SELECT p.profile,
  CAST(coalesce(
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\WindowsFirewall\' || p.profile
        AND lower(name) = 'enablefirewall'),
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\'
        || p.profile AND lower(name) = 'enablefirewall')) AS INTEGER) AS enabled,
  CAST(coalesce(
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\WindowsFirewall\' || p.profile
        AND lower(name) = 'defaultinboundaction'),
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\'
        || p.profile AND lower(name) = 'defaultinboundaction')) AS INTEGER) AS default_inbound
FROM profiles p;
