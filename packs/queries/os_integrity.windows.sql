-- Whether virtualization-based security runs, and which of its services are configured and run.
-- cost: 50ms
SELECT vbs_status, configured_security_services, running_security_services
FROM deviceguard_status;
