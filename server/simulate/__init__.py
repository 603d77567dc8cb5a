"""A fleet that is not there: seeded devices that speak osquery's TLS API and answer real SQL about made-up facts."""
