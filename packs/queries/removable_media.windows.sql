-- Whether a policy denies all removable storage, and how the driver of USB storage starts (4 is never). Always one row.
-- columns: deny_all bigint, usb_storage_start bigint
SELECT
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE path = 'HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\RemovableStorageDevices\Deny_All'
  ) AS deny_all,
  (SELECT CAST(data AS INTEGER) FROM registry
    WHERE path = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\USBSTOR\Start'
  ) AS usb_storage_start;
