-- Services of systemd that are enabled, those of old init scripts too (generated), and whether they are active.
-- key: name
-- cost: 200ms
SELECT id AS name, load_state, active_state, sub_state, fragment_path
FROM systemd_units
WHERE id LIKE '%.service' AND unit_file_state IN ('enabled', 'enabled-runtime', 'linked', 'generated');
