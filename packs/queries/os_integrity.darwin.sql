-- Whether System Integrity Protection is on as a whole. The other flags of the table mean the opposite: what
-- is allowed.
SELECT config_flag, enabled, enabled_nvram
FROM sip_config WHERE config_flag = 'sip';
