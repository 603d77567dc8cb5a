"""What the components of the uplink share, and what a component is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from collector.settings import Settings
from collector.spool import Spool
from collector.turns import Turns

if TYPE_CHECKING:  # thrift and aiohttp are loaded when they are first needed
    from collector.osqueryd import Osquery
    from collector.uplink.enrol import Enrolment
    from collector.uplink.http import Http
    from collector.uplink.memory import Memory
    from collector.uplink.network import Network
    from collector.uplink.sender import Sender


class Component(Protocol):
    """One thing the uplink does for as long as it runs.

    ``run`` goes on until it is cancelled; one that returns is done for good, one that raises is logged and run again
    after a while, and never takes the others down. What blocks (osqueryd's socket, SQLite) belongs into
    ``asyncio.to_thread``. On cancellation there is a second to put things in order; nothing may depend on it, since the
    process may be killed at any moment.
    """

    @property
    def name(self) -> str:
        """What it is called in the log."""

    async def run(self) -> None:
        """Do it, until cancelled."""


@dataclass(slots=True)
class Standing:
    """How the uplink fares, for whoever asks it; times are unix times."""

    started_at: float = field(default_factory=time.time)
    enrolled: bool = False
    enrolment_problem: str = ""
    """Why the device has no node key, in plain words; empty if it has one or nothing is known yet."""
    delivery_problem: str = ""
    """Why the last batch did not arrive; empty if it did."""
    delivered_at: dict[str, float] = field(default_factory=dict)
    """When a batch of each lane was last taken by the server."""
    heard_at: float | None = None
    """When the server last answered anything that we sent."""
    channel: str = ""
    """How the server's questions come: ``connected``, ``polling``, or empty while they do not."""


@dataclass(slots=True)
class Context:
    """What components are made of. They read it, and call what it offers; only its maker assigns to it."""

    settings: Settings
    spool: Spool
    """Safe to use by several threads; its calls block."""
    http: Http
    enrolment: Enrolment
    """``await enrolment.node_key()``; ``enrolment.invalid(key)`` when the server does not know a key."""
    sender: Sender
    """``sender.wake(lane)`` when something was put; ``sender.network_is_back()`` when the server was reached."""
    standing: Standing
    turns: Turns
    """Whose statement osqueryd works on."""
    network: Network
    """``network.tell(called)`` to be told when the device woke or its network changed."""
    memory: Memory
    """``memory.give_back()`` after work that took a lot of it."""
    osquery: Callable[[float], Osquery]
    """``osquery(seconds)``: a connection to osqueryd, for one thread and calls of so long; its user closes it."""
