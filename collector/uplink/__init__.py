"""The uplink: everything that talks to the server, in one process beside the one that serves osqueryd."""
