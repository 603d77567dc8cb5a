-- Whether a policy denies all removable storage, and how the driver of USB storage starts (4 is never). Always one row.
-- columns: deny_all bigint, usb_storage_start bigint
SELECT
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\RemovableStorageDevices'
      AND lower(name) = 'deny_all'
  ) AS deny_all,
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\USBSTOR' AND lower(name) = 'start'
  ) AS usb_storage_start;
