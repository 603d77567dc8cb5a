-- How the SSH server lets people in, counted over its main file and, where that includes them, the files of
-- sshd_config.d. Always one row: sshd_on is 1 where the server takes logins; settings_read is 0 where one of these
-- files could not be read, or a file elsewhere is included (those of system-wide crypto policies say nothing of
-- logins). passwords_no and passwords_other count the settings PasswordAuthentication of everybody, keyboard_no and
-- keyboard_other those of KbdInteractiveAuthentication (or its old name), root_yes and root_other those of
-- PermitRootLogin; exceptions counts settings in Match blocks that let somebody in by password, or root.
-- cost: 700ms
WITH said AS MATERIALIZED (
  SELECT path, instr(node, '/Match') > 0 AS conditional, lower(label) AS setting, lower(value) AS value FROM augeas
    WHERE path = '/etc/ssh/sshd_config' OR node LIKE '/files/etc/ssh/sshd_config.d/%%'
), included AS (
  SELECT COUNT(CASE WHEN value LIKE '/etc/ssh/sshd_config.d/%' OR value LIKE 'sshd_config.d/%' THEN 1 END) AS folder,
    COUNT(CASE WHEN value NOT LIKE '/etc/ssh/sshd_config.d/%' AND value NOT LIKE 'sshd_config.d/%'
      AND value NOT LIKE '/etc/crypto-policies/%' THEN 1 END) AS elsewhere
  FROM said WHERE setting = 'include'
), found AS (
  SELECT * FROM said WHERE path = '/etc/ssh/sshd_config' OR (SELECT folder > 0 FROM included)
)
SELECT
  CAST(CASE
    WHEN EXISTS (SELECT 1 FROM processes WHERE name = 'sshd') THEN 1
    WHEN EXISTS (SELECT 1 FROM systemd_units WHERE active_state = 'active'
      AND id IN ('ssh.service', 'sshd.service', 'ssh.socket', 'sshd.socket')) THEN 1
    WHEN EXISTS (SELECT 1 FROM processes WHERE pid = 1) THEN 0 END AS INTEGER) AS sshd_on,
  CAST((SELECT elsewhere = 0 AND (folder = 0
      OR (SELECT COUNT(*) FROM file WHERE path LIKE '/etc/ssh/sshd_config.d/%.conf')
        = (SELECT COUNT(DISTINCT path) FROM said WHERE path LIKE '/etc/ssh/sshd_config.d/%.conf'))
    FROM included) AND COUNT(CASE WHEN path = '/etc/ssh/sshd_config' THEN 1 END) > 0 AS INTEGER) AS settings_read,
  COUNT(CASE WHEN NOT conditional AND setting = 'passwordauthentication' AND value = 'no' THEN 1 END)
    AS passwords_no,
  COUNT(CASE WHEN NOT conditional AND setting = 'passwordauthentication' AND value <> 'no' THEN 1 END)
    AS passwords_other,
  COUNT(CASE WHEN NOT conditional AND value = 'no'
    AND setting IN ('kbdinteractiveauthentication', 'challengeresponseauthentication') THEN 1 END) AS keyboard_no,
  COUNT(CASE WHEN NOT conditional AND value <> 'no'
    AND setting IN ('kbdinteractiveauthentication', 'challengeresponseauthentication') THEN 1 END)
    AS keyboard_other,
  COUNT(CASE WHEN NOT conditional AND setting = 'permitrootlogin' AND value = 'yes' THEN 1 END) AS root_yes,
  COUNT(CASE WHEN NOT conditional AND setting = 'permitrootlogin' AND value <> 'yes' THEN 1 END) AS root_other,
  COUNT(CASE WHEN conditional AND value = 'yes' AND setting IN ('passwordauthentication',
    'kbdinteractiveauthentication', 'challengeresponseauthentication', 'permitrootlogin') THEN 1 END) AS exceptions
FROM found;
