-- Programs that registered an uninstaller.
SELECT name, version, publisher, install_location, install_date, identifying_number
FROM programs;
