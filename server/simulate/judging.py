"""The words of a fair judge, who knows what is true on a device and neither rules nor rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.simulate.state import State

PASS, FAIL, STALE, NO_DATA, ERROR, NOT_APPLICABLE, EXEMPT = (
    "pass", "fail", "stale", "no_data", "error", "not_applicable", "exempt",
)  # fmt: skip

Finding = tuple[str, str]
"""A status, and why."""
Judge = Callable[[State], Finding]
Judges = Mapping[str, Judge]
"""By control: what it means in terms of the simulator's facts."""


def by(trait: str, **said: Finding) -> Judge:
    """The judge of a control that one trait decides: what it says of every value."""
    return lambda state: said[state[trait]]
