-- What the stacks of PAM ask of new passwords and allow of wrong ones. Always one row: stacks_read is 0 where they
-- could not be read. quality counts modules that judge new passwords, and min_length is the least minlen= given to
-- a module; lockout counts modules that lock after wrong passwords, and attempts is the most that a deny= allows.
-- Both are empty where the module's own file (pwquality.conf, faillock.conf) decides, which osquery cannot read.
-- cost: 500ms
WITH stacks AS (
  SELECT label, value FROM augeas WHERE path LIKE '/etc/pam.d/%%' AND label IN ('module', 'argument')
    AND (instr(path, '/common-') > 0 OR instr(path, '/system-auth') > 0 OR instr(path, '/password-auth') > 0)
    AND instr(path, '-session') = 0)
SELECT CAST(COUNT(*) > 0 AS INTEGER) AS stacks_read,
  COUNT(CASE WHEN label = 'module' AND value IN ('pam_pwquality.so', 'pam_cracklib.so', 'pam_passwdqc.so')
    THEN 1 END) AS quality,
  CAST(MIN(CASE WHEN label = 'argument' AND value LIKE 'minlen=%' THEN CAST(substr(value, 8) AS INTEGER) END)
    AS INTEGER) AS min_length,
  COUNT(CASE WHEN label = 'module' AND value IN ('pam_faillock.so', 'pam_tally2.so') THEN 1 END) AS lockout,
  CAST(MAX(CASE WHEN label = 'argument' AND value LIKE 'deny=%' THEN CAST(substr(value, 6) AS INTEGER) END)
    AS INTEGER) AS attempts
FROM stacks;
