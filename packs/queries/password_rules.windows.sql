-- What the device's own security policy asks of passwords and allows of wrong ones. A setting that is not defined
-- is -1; a lockout_bad_count of 0 never locks. Nothing here is a password.
-- cost: 50ms
SELECT minimum_password_length AS min_length, password_complexity AS complexity, clear_text_password AS reversible,
  lockout_bad_count AS attempts
FROM security_profile_info;
