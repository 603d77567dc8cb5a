"""What holds for every test."""

from __future__ import annotations

from functools import lru_cache

from hypothesis import HealthCheck, settings

from server.catalog import yaml_files

# The first text that is drawn in a new checkout waits for a table of all characters; that is no fault of a test.
settings.register_profile("muster", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")

# Many tests read the shipped packs with a file or two changed: the others are parsed once.
yaml_files.tree_of = lru_cache(maxsize=1024)(yaml_files.tree_of.__wrapped__)
