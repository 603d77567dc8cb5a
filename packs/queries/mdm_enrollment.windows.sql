-- The management servers Windows is enrolled with: one row for each enrolment that names its provider.
SELECT key AS enrollment, data AS provider
FROM registry
WHERE key LIKE 'HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Enrollments\%' AND name = 'ProviderID';
