"""The bytes osquery sends and the bytes it can bear as an answer. Pure: no I/O, no framework."""
