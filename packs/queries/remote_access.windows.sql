-- The ways into a Windows device. Always one row: rdp_denied is 1 where Remote Desktop is off (a policy goes
-- before the setting), ssh_state is what the OpenSSH server's service does, vnc_services counts the services of
-- known VNC servers that run, and services_listed is 0 where services could not be listed.
-- columns: ssh_state text, vnc_services bigint
-- cost: 100ms
SELECT
  CAST(coalesce(
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows NT\Terminal Services'
        AND lower(name) = 'fdenytsconnections'),
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Terminal Server'
        AND lower(name) = 'fdenytsconnections')
  ) AS INTEGER) AS rdp_denied,
  (SELECT status FROM services WHERE lower(name) = 'sshd') AS ssh_state,
  (SELECT COUNT(*) FROM services WHERE status = 'RUNNING' AND lower(name) IN (
    'tvnserver', 'uvnc_service', 'winvnc', 'winvnc4', 'vncserver', 'vncserver-x11-serviced')) AS vnc_services,
  CAST((SELECT COUNT(*) > 0 FROM services WHERE lower(name) = 'eventlog') AS INTEGER) AS services_listed;
