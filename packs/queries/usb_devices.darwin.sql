-- USB devices plugged in at the moment. Identifiers of makers and models are hexadecimal; serial
-- numbers are left out, as most belong to devices of the person. Always one row: without a device it has no vendor_id.
-- devices_listed is 0 where not even disks, which are read from the same place, could be listed.
-- key: vendor_id, model_id
SELECT u.vendor_id, u.model_id, u.vendor, u.model, u.class, u.removable,
  CAST((SELECT COUNT(*) > 0 FROM block_devices) AS INTEGER) AS devices_listed
FROM osquery_info i LEFT JOIN usb_devices u ON 1;
