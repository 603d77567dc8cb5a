-- The machine: its names, processor, memory and what its maker calls it.
SELECT hostname, uuid, cpu_type, cpu_brand, cpu_physical_cores, cpu_logical_cores, physical_memory,
  hardware_vendor, hardware_model, hardware_serial, computer_name
FROM system_info;
