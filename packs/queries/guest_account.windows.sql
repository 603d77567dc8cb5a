-- Whether the security policy in force has the built-in guest account on, and what the account is called.
SELECT enable_guest_account, new_guest_name
FROM security_profile_info;
