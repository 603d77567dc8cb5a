"""From osquery's messages to answers: clean values, typed columns, runs put back together. Pure."""
