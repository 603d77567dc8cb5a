"""HTTP: osquery's own TLS API, and the one for people and their scripts."""
