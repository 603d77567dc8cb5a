"""Traits: what may be odd about a device, how often, and on which days of the span.

Every trait of its platform is odd somewhere among the first devices of a fleet; of the devices after them those with
a part are odd in a few, and the plain ones in none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from server.simulate.device import PARTS, PLAIN, Device, make_device
from server.simulate.presence import Span

EVERYWHERE = ("darwin", "linux", "windows")
LAPTOP, SERVER = ("laptop",), ("server",)
ALWAYS, MENDED, LAPSED, PASSING = COURSES = ("always", "mended", "lapsed", "passing")
"""How an oddity runs over the days: always there, mended, one that came, or one that came and went."""
SHARE = 0.06
"""Of the devices with a part, those that are odd in a trait."""
_ABSENT = ("departed", "joined_late", "holiday", "offline")


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that has its ``usual`` value on most devices, and one of the ``odd`` ones on a few.

    On platforms and kinds it is not for it has its usual value always.
    """

    name: str
    usual: str
    odd: tuple[str, ...]
    platforms: tuple[str, ...] = EVERYWHERE
    kinds: tuple[str, ...] = LAPTOP + SERVER


@dataclass(frozen=True, slots=True)
class Oddity:
    """An odd value, and the days it is there: from ``first`` on and before ``end``."""

    value: str
    first: int
    end: int


class Character:
    """A device's oddities over a span."""

    def __init__(self, device: Device, span: Span, traits: Sequence[Trait]) -> None:
        # The same name may be several traits, each for platforms of its own.
        self._usual = {trait.name: trait.usual for trait in traits if device.platform in trait.platforms}
        self._odd = {name: _course(device, span, name, value) for name, value in _oddities(device, traits).items()}

    def on(self, day: int) -> Mapping[str, str]:
        """Every trait of the device's platform with its value on a day."""
        return self._usual | {name: odd.value for name, odd in self._odd.items() if odd.first <= day < odd.end}


def _course(device: Device, span: Span, name: str, value: str) -> Oddity:
    course = device.dice.pick((ALWAYS, *COURSES), "course", name)
    begin = span.at(0.15 + 0.6 * device.dice.share("course begins", name))
    end = begin + max(2, int(span.days * 0.25))
    never = span.first + 100 * span.days
    days = {ALWAYS: (0, never), MENDED: (0, begin), LAPSED: (begin, never), PASSING: (begin, end)}
    return Oddity(value, *days[course])


def _oddities(device: Device, traits: Sequence[Trait]) -> Mapping[str, str]:
    if device.index < len(PARTS):
        return _showcase(device.seed, tuple(traits)).get(device.index, {})
    if device.part in PLAIN:
        return {}
    return {
        trait.name: device.dice.pick(trait.odd, "odd value", trait.name)
        for trait in traits
        if _may_have(device, trait) and device.dice.chance(SHARE, "odd", trait.name)
    }


@lru_cache(maxsize=8)
def _showcase(seed: int, traits: tuple[Trait, ...]) -> Mapping[int, Mapping[str, str]]:
    """Every odd value on every platform for one of the first devices each, shared out evenly."""
    shown = [make_device(seed, index) for index in range(len(PARTS))]
    shown = [device for device in shown if device.part not in (*PLAIN, *_ABSENT)]
    found: dict[int, dict[str, str]] = {device.index: {} for device in shown}
    for trait in traits:
        for platform in trait.platforms:
            for value in trait.odd:
                free = [
                    device
                    for device in shown
                    if device.platform == platform
                    and _may_have(device, trait)
                    and trait.name not in found[device.index]
                ]
                if free:
                    chosen = min(free, key=lambda device: (len(found[device.index]), device.index))
                    found[chosen.index][trait.name] = value
    return found


def _may_have(device: Device, trait: Trait) -> bool:
    return device.platform in trait.platforms and device.kind in trait.kinds
