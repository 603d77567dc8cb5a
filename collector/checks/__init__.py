"""Looking at an installation: what osqueryd needs to load the extension, its flags, and our own settings."""
