-- How Windows keeps its clock. Always one row: how its time service starts (it is started on demand where no
-- domain is joined, so that it runs now says little), and with whom it is set to synchronise: NTP, NT5DS (the
-- domain), AllSync, or NoSync. A policy goes before the setting.
-- columns: start_type text, sync_type text
-- cost: 100ms
SELECT
  (SELECT start_type FROM services WHERE lower(name) = 'w32time') AS start_type,
  coalesce(
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\W32Time\Parameters' AND lower(name) = 'type'),
    (SELECT data FROM registry
      WHERE key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\W32Time\Parameters'
        AND lower(name) = 'type')) AS sync_type;
