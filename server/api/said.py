"""What collectors say of themselves, until it is written down: only what is new, and all of a moment together."""

from __future__ import annotations

import time
from functools import partial

from server.store.channels import Said, forget_channels, note_said
from server.store.lease import new_holder
from server.store.store import Store
from server.wire.collector_messages import Hello
from server.wire.messages import Backlog

NOTE_SECONDS = 15.0
BACKLOG_SECONDS = 60.0
"""A backlog that only grows or shrinks is written down this often; one that begins or is gone, at once."""
SEEN_SECONDS = 300.0
"""How often it is written down that a collector is there that says nothing new."""


class Hellos:
    """What the collectors of one server said last, and what of that is not written down yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.server = new_holder()
        """Who this server is, as it is known to others."""
        self._written: dict[int, tuple[Said, float]] = {}
        self._backlogs: dict[int, tuple[Backlog, float]] = {}
        self._new: dict[int, Said] = {}
        self._new_backlogs: dict[int, Backlog] = {}
        self._noted_at = float("-inf")

    @property
    def waiting(self) -> bool:
        """Whether anything is not written down yet."""
        return bool(self._new or self._new_backlogs)

    def heard(self, device_no: int, hello: Hello, *, connected: bool) -> None:
        """Keep what a device's collector says."""
        said, now = Said.of(hello, connected=connected), time.monotonic()
        written, at = self._written.get(device_no, (None, 0.0))
        if said != written or now - at >= SEEN_SECONDS or device_no in self._new:
            self._new[device_no] = said
        if hello.backlog is not None:
            self._keep_backlog(device_no, hello.backlog, now)

    def _keep_backlog(self, device_no: int, backlog: Backlog, now: float) -> None:
        written, at = self._backlogs.get(device_no, (None, 0.0))
        turned = written is None or bool(written.lines) != bool(backlog.lines)
        if turned or (written != backlog and now - at >= BACKLOG_SECONDS):
            self._new_backlogs[device_no] = backlog

    def left(self, device_no: int, hello: Hello) -> None:
        """Keep that a collector's channel is closed."""
        self._new[device_no] = Said.of(hello, connected=False)

    async def note(self, *, now: bool = False) -> None:
        """Write down what is new, if it is time for that or has to be ``now``."""
        moment = time.monotonic()
        if not now and moment - self._noted_at < NOTE_SECONDS:
            return
        self._noted_at = moment
        said, self._new = self._new, {}
        backlogs, self._new_backlogs = self._new_backlogs, {}
        if not said and not backlogs:
            return
        try:
            work = partial(note_said, said=said, backlogs=list(backlogs.items()), server=self.server)
            await self._store.write(partial(work, now=self._store.clock()))
        except BaseException:
            self._new, self._new_backlogs = said | self._new, backlogs | self._new_backlogs
            raise
        self._backlogs |= {number: (one, moment) for number, one in backlogs.items()}
        self._written |= {number: (one, moment) for number, one in said.items()}

    async def forget(self, *, ends: bool = False) -> None:
        """Write down that the channels of servers that are gone are closed; where this one ``ends``, its own too."""
        await self._store.write(partial(forget_channels, ended=self.server if ends else "", now=self._store.clock()))
