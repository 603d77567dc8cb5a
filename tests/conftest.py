"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The first text that is drawn in a new checkout waits for a table of all characters; that is no fault of a test.
settings.register_profile("muster", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")
