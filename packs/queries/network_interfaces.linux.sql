-- Network interfaces with an address of their own, without those of containers, virtual machines and bridges. Addresses
-- of IP are left out: they tell where a laptop is.
SELECT interface, mac
FROM interface_details
WHERE mac NOT IN ('', '00:00:00:00:00:00')
  AND interface NOT LIKE 'veth%' AND interface NOT LIKE 'docker%' AND interface NOT LIKE 'br-%'
  AND interface NOT LIKE 'virbr%' AND interface NOT LIKE 'vnet%' AND interface NOT LIKE 'tap%'
  AND interface NOT LIKE 'cali%' AND interface NOT LIKE 'cni%' AND interface NOT LIKE 'lxc%'
  AND interface NOT LIKE 'ifb%';
