-- What the device's own security policy asks of passwords and allows of wrong ones. A setting that is not defined
-- is -1; a lockout_bad_count of 0 never locks. reversible is 1 where passwords are kept so that they can be read
-- again. Nothing here is a password.
-- cost: 50ms
SELECT minimum_password_length AS min_length, password_complexity AS complexity,
  CAST(CASE clear_text_password WHEN 1 THEN 1 WHEN 0 THEN 0 END AS INTEGER) AS reversible,
  lockout_bad_count AS attempts
FROM security_profile_info;
