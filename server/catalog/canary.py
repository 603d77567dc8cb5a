"""Which devices a canary is for: a share of them, or those with a tag. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass

_PERCENTAGE = re.compile(r"(?P<percent>\d{1,2}(?:\.\d{1,2})?)%")
_TAG = re.compile(r"tag=(?P<tag>[^\s,=]+)")
_SHARES = 10_000


class SelectorError(ValueError):
    """A selector that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Selector:
    """``5%`` (of ``shares`` in ten thousand) or ``tag=eng``."""

    text: str
    shares: int = 0
    tag: str = ""

    def takes(self, number: int, device_id: str, tags: Collection[str]) -> bool:
        """Whether the canary of this application is for a device; another application takes other devices."""
        return self.tag in tags if self.tag else place(number, device_id) < self.shares


def place(number: int, device_id: str) -> int:
    """A device's place in an application's order of devices, from 0 to 9999."""
    digest = hashlib.blake2b(f"{number} {device_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SHARES


def parse_selector(text: str) -> Selector:
    """Read ``5%``, ``0.5%`` or ``tag=NAME``; raises ``SelectorError``."""
    percentage, tag = _PERCENTAGE.fullmatch(text), _TAG.fullmatch(text)
    if percentage and (shares := round(float(percentage["percent"]) * 100)):
        return Selector(text, shares=shares)
    if tag:
        return Selector(text, tag=tag["tag"].lower())
    raise SelectorError(f"{text!r} is neither a share below 100% (5%, 0.5%) nor tag=NAME")
