-- USB devices plugged in at the moment. Identifiers of makers and models are hexadecimal.
-- key: vendor_id, model_id, serial
SELECT vendor_id, model_id, vendor, model, serial, class, removable
FROM usb_devices;
