-- Network adapters that are hardware. Addresses of IP are left out: they tell where a laptop is.
SELECT description AS interface, mac, manufacturer
FROM interface_details
WHERE physical_adapter = 1;
