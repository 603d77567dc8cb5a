-- Whether Location Services are on; never where the device is. Empty where macOS would not say.
-- cost: 50ms
SELECT enabled
FROM location_services;
