-- USB devices plugged in at the moment. Identifiers of makers and models are hexadecimal; serial
-- numbers are left out, as most belong to devices of the person.
-- key: vendor_id, model_id
SELECT vendor_id, model_id, vendor, model, class, removable
FROM usb_devices;
