"""The only answers osquery gets: always a JSON object, for a scalar kills osqueryd and an empty body wipes its config.

The HTTP status is ignored by osquery, so it only informs people: ``error`` and ``node_invalid`` in the body decide.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

OK = b"{}"
"""Delivered: osquery deletes what it sent."""

NODE_INVALID = b'{"node_invalid":true}'
"""The key is unknown: osquery throws it away and enrols again, keeping what it has to send."""

NO_QUERIES = b'{"queries":{}}'
"""Nothing to ask by distributed query."""


def questions(queries: Mapping[str, str]) -> bytes:
    """Distributed queries by id. Every value must be text, or osquery takes none of them."""
    return orjson.dumps({"queries": dict(queries)})


def error(message: str) -> bytes:
    """Not delivered: osquery keeps what it sent and comes again. ``message`` must hold no secret."""
    return orjson.dumps({"error": message})


def enrolled(node_key: str) -> bytes:
    """The key osquery shows from now on."""
    return orjson.dumps({"node_key": node_key, "node_invalid": False})
