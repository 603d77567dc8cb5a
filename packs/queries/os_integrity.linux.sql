-- Mandatory access control: whether SELinux enforces (1, 0, or empty where it is not there), how many profiles AppArmor
-- enforces and how many it only complains about, and whether the kernel's security file system, where AppArmor
-- says so, is mounted. Always one row.
-- columns: selinux_enforcing text, apparmor_enforced bigint, apparmor_complaining bigint, securityfs bigint
SELECT
  (SELECT MAX(value) FROM selinux_settings WHERE scope = '' AND key = 'enforce') AS selinux_enforcing,
  (SELECT COUNT(*) FROM apparmor_profiles WHERE mode = 'enforce') AS apparmor_enforced,
  (SELECT COUNT(*) FROM apparmor_profiles WHERE mode = 'complain') AS apparmor_complaining,
  (SELECT COUNT(*) > 0 FROM mounts WHERE type = 'securityfs') AS securityfs;
