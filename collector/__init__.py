"""What runs on the device, beside osqueryd. Imports the standard library, osquery, aiohttp and orjson; never server."""
