"""What runs on the device, beside osqueryd. Imports the standard library, osquery, aiohttp and orjson; never server."""

VERSION = "0.1.0"
"""The version of this package. Written here, too, since asking for the installed one costs memory on every laptop."""
