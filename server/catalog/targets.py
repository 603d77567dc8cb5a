"""Which devices a pack is for: its ``targets``, held against what is known of a device. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, model_validator

from server.catalog.yaml_files import Strict

_VERSION = r"[0-9]+(\.[0-9]+){0,3}"
Version = Annotated[str, Field(pattern=rf"^{_VERSION}$", max_length=40)]
TagList = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
_SHARES = 100 * 2**32
"""The digest's range, in hundredths, so that a percentage is compared in whole numbers."""


class TargetTags(Strict):
    """By tags of the device, exactly as written: at least one of ``include``, none of ``exclude``."""

    include: TagList | None = None
    exclude: TagList | None = None

    @model_validator(mode="after")
    def _sensible(self) -> TargetTags:
        if not (self.include or self.exclude):
            raise ValueError("give include, exclude or both")
        both = sorted(set(self.include or ()) & set(self.exclude or ()))
        if both:
            raise ValueError(f"{both[0]!r} is both included and excluded")
        return self


class Targets(Strict):
    """What a device must be for a pack to reach it; what is left out asks for nothing."""

    osquery: Version | None = None
    """The least version of osquery; a device whose version is not known has none."""
    tags: TargetTags | None = None
    percentage: Annotated[int, Field(ge=1, le=100)] | None = None
    """Of the devices, the same ones every day; a larger number only adds to them."""

    @model_validator(mode="after")
    def _something(self) -> Targets:
        if self.osquery is None and self.tags is None and self.percentage is None:
            raise ValueError("give osquery, tags or percentage, or leave targets out")
        return self


@dataclass(frozen=True, slots=True)
class TargetedDevice:
    """What of a device decides which packs reach it; an ``osquery_version`` that is not known is empty."""

    device_id: str
    platform: str
    osquery_version: str = ""
    tags: frozenset[str] = field(default_factory=frozenset)


def matches(targets: Targets | None, device: TargetedDevice, *, pack: str, platforms: Collection[str]) -> bool:
    """Whether the pack with that id, for those platforms and targets, reaches a device."""
    if device.platform not in platforms:
        return False
    if targets is None:
        return True
    if targets.osquery is not None and _numbers(device.osquery_version) < _numbers(targets.osquery):
        return False
    if targets.tags is not None and not _tagged(targets.tags, device.tags):
        return False
    return targets.percentage is None or _share(device.device_id, pack) < targets.percentage * 2**32


def _tagged(wanted: TargetTags, tags: frozenset[str]) -> bool:
    if wanted.include and tags.isdisjoint(wanted.include):
        return False
    return tags.isdisjoint(wanted.exclude or ())


def _numbers(version: str) -> tuple[int, ...]:
    """A version as numbers to compare, without zeros at the end: 5.10 is 5.10.0, and none is less than any."""
    found = re.match(_VERSION, version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _share(device_id: str, pack: str) -> int:
    """A device's place in a pack's order of devices, from 0 to below ``_SHARES``; each pack has an order of its own."""
    digest = hashlib.blake2b(f"{pack}\n{device_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SHARES
