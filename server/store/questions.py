"""Questions to devices: everything they are asked, by whatever way they can be reached, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.store.asked import COLLECTOR, OSQUERY
from server.store.devices import Device
from server.wire.messages import QuestionAnswer

OfDevices = Mapping[int, Mapping[str, str]]
"""SQL by a question's id, by the number of the device that is asked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A device that can be asked now, and the node key by which it came."""

    device: Device
    node_key: str


@dataclass(frozen=True, slots=True)
class News:
    """What a look found: the devices (numbers) that have something waiting, and whether anything sent was withdrawn."""

    waiting: Collection[int] = frozenset()
    withdrawn: bool = False


class Asks(Protocol):
    """Something that asks devices; its questions' ids are its own."""

    def takes(self, question: str) -> bool:
        """Whether an id is that of one of its questions."""

    async def due(self, callers: Sequence[Caller], via: str) -> OfDevices:
        """The SQL to ask devices now ``via`` ``OSQUERY`` or ``COLLECTOR``. What is given out counts as asked."""

    async def news(self) -> News:
        """Look, for all devices at once, who has something waiting and whether anything was withdrawn since."""

    async def lost(self, caller: Caller, queued: Collection[str]) -> Mapping[str, str]:
        """What a device's collector was sent and neither has (``queued``, ids) nor answered: to be sent once more."""

    async def unawaited(self, questions: Sequence[tuple[int, str]]) -> list[bool]:
        """Which of these of its questions to devices (numbers and ids) need no answer any more."""

    async def answered(self, device: Device, answers: Sequence[QuestionAnswer]) -> None:
        """Take answers to its questions, or leave them alone; returns when what it keeps is durable."""


class Questions:
    """All that ask, behind osquery's two requests, and behind what collectors are told and tell."""

    def __init__(self, *asking: Asks) -> None:
        self._asking = asking
        self._listeners: list[Callable[[], None]] = []

    # -- what is asked -----------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called whenever this process puts or withdraws questions; others' are found by looks."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell that this process has put or withdrawn questions: devices that can be reached hear of it at once."""
        for listener in self._listeners:
            listener()

    async def due(self, device: Device, node_key: str) -> dict[str, str]:
        """What to ask a device that calls by distributed/read now: SQL by id."""
        found = await self._due([Caller(device, node_key)], OSQUERY)
        return found.get(device.device_no, {})

    async def due_of_collectors(self, callers: Sequence[Caller]) -> dict[int, dict[str, str]]:
        """What to ask the collectors of devices now, by the devices' numbers."""
        return await self._due(callers, COLLECTOR)

    async def _due(self, callers: Sequence[Caller], via: str) -> dict[int, dict[str, str]]:
        questions: dict[int, dict[str, str]] = {}
        for asks in self._asking:
            for number, due in (await asks.due(callers, via)).items():
                questions.setdefault(number, {}).update(due)
        return questions

    async def news(self) -> News:
        """Whom there is something waiting for, and whether any question was withdrawn, since the last look."""
        found = [await asks.news() for asks in self._asking]
        waiting = {number for news in found for number in news.waiting}
        return News(waiting, any(news.withdrawn for news in found))

    async def lost(self, caller: Caller, queued: Collection[str]) -> dict[str, str]:
        """What a collector that comes anew was sent before and has lost; ``queued`` are the ids that it has."""
        found: dict[str, str] = {}
        for asks in self._asking:
            found |= await asks.lost(caller, queued)
        return found

    async def unawaited(self, questions: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        """Those of these questions (devices' numbers and ids) that nobody waits for any more, or ever did."""
        left, found = list(questions), []
        for asks in self._asking:
            own = [one for one in left if asks.takes(one[1])]
            left = [one for one in left if not asks.takes(one[1])]
            if own:
                found += [one for one, gone in zip(own, await asks.unawaited(own), strict=True) if gone]
        return found + left

    # -- what is answered --------------------------------------------------------------------------------------

    async def answered(self, device: Device, answers: Iterable[QuestionAnswer]) -> None:
        """Give answers to whoever asked. What nobody asked is thrown away, so that osquery stops carrying it about."""
        found = list(answers)
        for asks in self._asking:
            own = [answer for answer in found if asks.takes(answer.question)]
            if own:
                await asks.answered(device, own)
