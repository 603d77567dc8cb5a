-- Flags of osquery on which the truth of its answers rests, as they are in force: one row each.
SELECT name, value
FROM osquery_flags
WHERE name IN (
  'allow_unsafe', 'config_plugin', 'disable_decorators', 'disable_enrollment', 'disable_logging',
  'disable_reenrollment', 'disable_tables', 'disable_watchdog', 'enable_tables', 'host_identifier',
  'logger_event_type', 'logger_plugin', 'logger_snapshot_event_type', 'nullvalue', 'tls_disable_status_log',
  'tls_hostname');
