-- The osquery that answers: its version (also as numbers that can be compared) and the configuration it runs.
-- volatile: start_time
SELECT version, CAST(split(version, '.', 0) AS INTEGER) AS major,
  CAST(split(version, '.', 1) AS INTEGER) AS minor,
  build_platform, config_hash, config_valid, extensions, instance_id, uuid, start_time
FROM osquery_info;
