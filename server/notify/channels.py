"""What a channel is, and how it says that a message did not arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class NotDeliveredError(Exception):
    """A message did not arrive; ``for_good`` if it never will."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str:
        """What the channel is called where deliveries are listed; without secrets, and stable."""

    async def send(self, message_id: str, message: Mapping[str, Any]) -> None:
        """Send a message; the same ``message_id`` may come twice. Raises ``NotDeliveredError``."""
