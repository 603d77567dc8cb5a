-- Whether Time Machine has destinations, how many are known to be encrypted, and when the newest backup was made:
-- the instant at which its week began, so that hourly backups do not make hourly changes. Always one row.
-- columns: destinations bigint, encrypted bigint, not_encrypted bigint, newest_backup_week bigint
WITH destination AS MATERIALIZED (SELECT destination_id, encryption FROM time_machine_destinations)
SELECT
  (SELECT COUNT(*) FROM destination) AS destinations,
  (SELECT COUNT(*) FROM destination WHERE encryption IN ('Encrypted', 'FileVault')) AS encrypted,
  (SELECT COUNT(*) FROM destination WHERE encryption = 'NotEncrypted') AS not_encrypted,
  (SELECT MAX(CAST(backup_date AS INTEGER)) / 604800 * 604800 FROM time_machine_backups) AS newest_backup_week;
