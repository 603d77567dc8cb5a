-- Drivers in use that have a file, one row for each file and version; signed is -1 where that could not be told.
-- key: service, image
-- cost: 500ms
SELECT DISTINCT service, image, provider, version, class, signed
FROM drivers
WHERE image <> '';
