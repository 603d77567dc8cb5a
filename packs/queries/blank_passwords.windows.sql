-- Whether accounts without a password may be used from the network: limited is 1 where they may not.
-- Always one row.
SELECT CAST((SELECT data FROM registry
  WHERE key = 'HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Lsa' AND lower(name) = 'limitblankpassworduse'
  ) AS INTEGER) AS limited;
