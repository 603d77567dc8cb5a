"""One device's collector as it is talked to, and what it is told when it says hello. The same over channel and poll."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

from server.api.keys import Presence
from server.api.outbox import Outbox
from server.normalize.times import unix
from server.store.asked import ANSWER_SECONDS
from server.store.calendar import read_calendar
from server.store.driver import Transaction
from server.store.questions import Caller
from server.store.store import Store
from server.wire import collector_messages as messages
from server.wire.collector_messages import Hello

CALENDAR_DAYS = 14
CALENDAR_SECONDS = 60.0
"""How old the calendar that is told may be. Another zone begins tomorrow at the earliest."""
POLL_SECONDS = 30
AGAIN_SECONDS = 90.0
"""How long a config that was sent may take to be said to be there."""
_NEVER = float("-inf")

Days = tuple[tuple[str, int, int], ...]


@dataclass(slots=True, eq=False)
class Peer:
    """A collector, and what it is known to have; times are those of ``time.monotonic``."""

    caller: Caller
    outbox: Outbox | None = None
    """None for one that polls."""
    hello: Hello | None = None
    days: Days = ()
    config_hash: str = ""
    config_at: float = _NEVER
    posture_hash: str = ""
    posture_at: float = _NEVER
    posture_looked: bool = False
    asked: dict[str, float] = field(default_factory=dict)
    """The ids of questions it was sent, with the time of that."""
    heard_at: float = _NEVER

    @property
    def device_no(self) -> int:
        """The number of its device."""
        return self.caller.device.device_no

    def remember(self, questions: dict[str, str]) -> list[bytes]:
        """The messages that ask these questions, which may be withdrawn from now on."""
        now = time.monotonic()
        for old in [one for one, at in self.asked.items() if at < now - ANSWER_SECONDS]:
            del self.asked[old]
        self.asked |= dict.fromkeys(questions, now)
        return [messages.ask(question, sql) for question, sql in questions.items()]


class Greeting:
    """What a collector is told when it says hello: what it lacks."""

    def __init__(self, store: Store, presence: Presence) -> None:
        self._store = store
        self._presence = presence
        self._days: Days = ()
        self._days_until = _NEVER

    async def answer(self, peer: Peer, hello: Hello) -> list[bytes]:
        """The messages for a collector that says hello, at first and every minute; the posture comes by itself."""
        first, peer.hello, peer.heard_at = peer.hello is None, hello, time.monotonic()
        self._presence.device_nos.add(peer.device_no)
        if first or time.monotonic() - peer.config_at > AGAIN_SECONDS:
            peer.config_hash = hello.config_hash
        said = await self.greet(peer)
        said += self.config(peer)
        return said + await self._questions(peer, hello, first)

    async def days(self) -> Days:
        """The fleet's days from today on, with their bounds in unix seconds; the same object until they change."""
        if time.monotonic() > self._days_until:
            days = await self._store.read(self._read_days)
            self._days = self._days if days == self._days else days
            self._days_until = time.monotonic() + CALENDAR_SECONDS
        return self._days

    async def _read_days(self, tx: Transaction) -> Days:
        calendar = await read_calendar(tx)
        today = calendar.today(self._store.clock())
        days = [calendar.day(today + timedelta(days=number)) for number in range(CALENDAR_DAYS)]
        return tuple((day.day, unix(day.starts_at), unix(day.ends_at)) for day in days)

    async def greet(self, peer: Peer) -> list[bytes]:
        """The server's hello, for one that does not have these days yet, or keeps nothing open."""
        days = await self.days()
        if peer.days is days and peer.outbox is not None:
            return []
        peer.days = days
        return [messages.hello(peer.caller.device.device_id, self._store.clock(), POLL_SECONDS, days)]

    def config(self, peer: Peer) -> list[bytes]:
        """The device's config, for a collector that has another one."""
        number, config = self._store.in_force.config_of(peer.caller.device)
        told, hello = config.told, peer.hello
        if hello is not None and hello.serves_config and hello.config_hash == told.hash:
            self._presence.serve(peer.device_no, number, config.hash)
        if peer.config_hash == told.hash:
            return []
        peer.config_hash, peer.config_at = told.hash, time.monotonic()
        return [told.message]

    async def _questions(self, peer: Peer, hello: Hello, first: bool) -> list[bytes]:
        questions = self._store.questions
        said: list[bytes] = []
        if hello.queued:
            gone = await questions.unawaited((peer.device_no, one) for one in sorted(hello.queued))
            said += [messages.cancel(question) for _, question in gone]
        if first or (peer.outbox is None and peer.asked):
            lost = await questions.lost(peer.caller, hello.queued)
            peer.asked = {one: at for one, at in peer.asked.items() if one in hello.queued}
            said += peer.remember(lost)
        due = await questions.due_of_collectors([peer.caller])
        return said + peer.remember(due.get(peer.device_no, {}))
