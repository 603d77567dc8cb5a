"""What a simulated fleet is told about itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.simulate.company import Company
from server.simulate.presence import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What a fleet is, and how it lives. ``first`` and ``count`` choose devices by index; times are unix seconds."""

    url: str
    secret: str
    span: Span
    seed: int = 1
    first: int = 0
    count: int = 1
    history: bool = False
    """Whether the days of the span up to ``horizon`` are delivered before the devices live."""
    delivered_until: float = 0.0
    """What happened until then was delivered in an earlier run."""
    horizon: float
    speed: float = 1.0
    never_sleep: bool = False
    each_connection: bool = False
    company: Company = field(default_factory=Company)
    """What was imported of the fleet; nothing, unless somebody did."""
    node_keys: dict[str, str] = field(default_factory=dict)
    """Keys of an earlier run, by host name."""
