"""What is kept: devices, their answers as intervals, coverage, and who may ask. Any driver, no framework."""
