"""Chance without state: every choice is a function of a seed and of what is chosen.

Nothing here depends on the machine, the Python version or the order of calls, so the same seed is the same fleet
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

Item = TypeVar("Item")

_SPAN = 2**64


class Dice:
    """The choices of one seed, or of one device of it."""

    def __init__(self, *seed: object) -> None:
        self._seed = "\x1f".join(str(part) for part in seed).encode()

    def number(self, *what: object) -> int:
        """A whole number from 0 to 2**64 - 1."""
        text = "\x1f".join(str(part) for part in what).encode()
        return int.from_bytes(blake2b(text, key=self._key(), digest_size=8).digest(), "big")

    def share(self, *what: object) -> float:
        """A number from 0 to 1, 1 excluded."""
        return self.number(*what) / _SPAN

    def chance(self, probability: float, *what: object) -> bool:
        """True as often as ``probability`` (0 to 1) says."""
        return self.share(*what) < probability

    def between(self, low: int, high: int, *what: object) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return low + self.number(*what) % (high - low + 1)

    def pick(self, items: Sequence[Item], *what: object) -> Item:
        """One of ``items``."""
        return items[self.number(*what) % len(items)]

    def hexadecimal(self, digits: int, *what: object) -> str:
        """Lower-case hexadecimal text of that many digits (up to 128)."""
        text = "\x1f".join(str(part) for part in what).encode()
        return blake2b(text, key=self._key(), digest_size=64).hexdigest()[:digits]

    def uuid(self, *what: object) -> str:
        """A text of a random UUID's form, in lower case."""
        digits = self.hexadecimal(32, *what)
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def shuffled(self, items: Sequence[Item], *what: object) -> list[Item]:
        """``items`` in another order."""
        numbered = sorted(range(len(items)), key=lambda at: self.number(*what, at))
        return [items[at] for at in numbered]

    def _key(self) -> bytes:
        return self._seed if len(self._seed) <= 64 else blake2b(self._seed).digest()
