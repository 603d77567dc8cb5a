-- How the SSH server lets people in, counted over its main file and the files it includes from sshd_config.d.
-- Always one row: sshd_on is 1 where the server takes logins; settings_read is 0 where the file could not be
-- read. passwords_no and passwords_other count the settings PasswordAuthentication of everybody, keyboard_no and
-- keyboard_other those of KbdInteractiveAuthentication (or its old name), root_yes and root_other those of
-- PermitRootLogin; exceptions counts settings in Match blocks that let somebody in by password, or root.
-- cost: 700ms
WITH found AS (
  SELECT instr(node, '/Match') > 0 AS conditional, lower(label) AS setting, lower(value) AS said FROM augeas
    WHERE path = '/etc/ssh/sshd_config' OR node LIKE '/files/etc/ssh/sshd_config.d/%%')
SELECT
  CAST(CASE
    WHEN EXISTS (SELECT 1 FROM processes WHERE name = 'sshd') THEN 1
    WHEN EXISTS (SELECT 1 FROM systemd_units WHERE active_state = 'active'
      AND id IN ('ssh.service', 'sshd.service', 'ssh.socket', 'sshd.socket')) THEN 1
    WHEN EXISTS (SELECT 1 FROM processes WHERE pid = 1) THEN 0 END AS INTEGER) AS sshd_on,
  CAST(COUNT(*) > 0 AS INTEGER) AS settings_read,
  COUNT(CASE WHEN NOT conditional AND setting = 'passwordauthentication' AND said = 'no' THEN 1 END)
    AS passwords_no,
  COUNT(CASE WHEN NOT conditional AND setting = 'passwordauthentication' AND said <> 'no' THEN 1 END)
    AS passwords_other,
  COUNT(CASE WHEN NOT conditional AND said = 'no'
    AND setting IN ('kbdinteractiveauthentication', 'challengeresponseauthentication') THEN 1 END) AS keyboard_no,
  COUNT(CASE WHEN NOT conditional AND said <> 'no'
    AND setting IN ('kbdinteractiveauthentication', 'challengeresponseauthentication') THEN 1 END)
    AS keyboard_other,
  COUNT(CASE WHEN NOT conditional AND setting = 'permitrootlogin' AND said = 'yes' THEN 1 END) AS root_yes,
  COUNT(CASE WHEN NOT conditional AND setting = 'permitrootlogin' AND said <> 'yes' THEN 1 END) AS root_other,
  COUNT(CASE WHEN conditional AND said = 'yes' AND setting IN ('passwordauthentication',
    'kbdinteractiveauthentication', 'challengeresponseauthentication', 'permitrootlogin') THEN 1 END) AS exceptions
FROM found;
