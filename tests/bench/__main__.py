"""``python -m tests.bench``."""

from __future__ import annotations

import json
import sys

from tests.bench.ingest import new_rows, unchanged_snapshots
from tests.bench.scale import Scale
from tests.bench.small import small_requests

BENCHES = {"new-rows": new_rows, "unchanged": unchanged_snapshots, "small": small_requests}

for name in sys.argv[2:] or BENCHES:
    for line in BENCHES[name]("sqlite", Scale(float(sys.argv[1]) if len(sys.argv) > 1 else 1)):
        print(json.dumps(line.as_dict()), flush=True)
