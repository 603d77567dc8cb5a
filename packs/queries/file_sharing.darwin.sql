-- Which kinds of sharing are on. One row; 1 is on.
SELECT file_sharing, internet_sharing, bluetooth_sharing, printer_sharing, disc_sharing, content_caching
FROM sharing_preferences;
