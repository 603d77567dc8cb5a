-- The firmware: its maker, version, and the day it was made.
SELECT vendor, version, date AS built_on, revision, firmware_type
FROM platform_info;
