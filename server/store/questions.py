"""Distributed queries: everything a device is asked when it calls, and the answers to each on their way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from server.store.devices import Device
from server.wire.messages import QuestionAnswer


class Asks(Protocol):
    """Something that asks devices; its questions' ids are its own."""

    def takes(self, question: str) -> bool:
        """Whether an id is that of one of its questions."""

    async def due(self, device: Device, node_key: str) -> Mapping[str, str]:
        """The SQL to ask a device now, by id. What is given out counts as asked."""

    async def answered(self, device: Device, answers: Sequence[QuestionAnswer]) -> None:
        """Take answers to its questions, or leave them alone; returns when what it keeps is durable."""


class Questions:
    """All that ask, behind the two requests by which osquery is asked and answers."""

    def __init__(self, *asking: Asks) -> None:
        self._asking = asking

    async def due(self, device: Device, node_key: str) -> dict[str, str]:
        """What to ask a device now: SQL by id."""
        questions: dict[str, str] = {}
        for asks in self._asking:
            questions |= await asks.due(device, node_key)
        return questions

    async def answered(self, device: Device, answers: Iterable[QuestionAnswer]) -> None:
        """Give answers to whoever asked. What nobody asked is thrown away, so that osquery stops carrying it about."""
        found = list(answers)
        for asks in self._asking:
            own = [answer for answer in found if asks.takes(answer.question)]
            if own:
                await asks.answered(device, own)
