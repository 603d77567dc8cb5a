-- What the device shares with the network, and whether the service that does it runs: a row for each share, and
-- one without a share where there is none. Type 0 is a folder; administrative shares have other types.
-- key: name
SELECT s.status AS server_service, r.name, r.path, r.type, r.type_name
FROM services s LEFT JOIN shared_resources r ON 1 = 1
WHERE s.name = 'LanmanServer';
