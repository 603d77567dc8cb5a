-- The application firewall: global_state is 0 for off, 1 for on with exceptions, 2 for all incoming blocked.
-- cost: 300ms
SELECT global_state, stealth_enabled
FROM alf;
