-- Network interfaces with an address of their own: Ethernet and Wi-Fi. Addresses of IP are left out: they tell where a
-- laptop is.
SELECT interface, mac
FROM interface_details
WHERE interface LIKE 'en%' AND mac NOT IN ('', '00:00:00:00:00:00');
