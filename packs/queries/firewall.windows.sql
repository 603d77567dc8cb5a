-- What the Windows Security Center says of the firewall: Good, Poor, Snoozed, Not Monitored, or Error where
-- there is no such centre (Windows Server). One row.
-- cost: 50ms
SELECT firewall
FROM windows_security_center;
