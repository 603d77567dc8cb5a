"""The model of a pack file: which queries and controls are asked of whom, and how often."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from server.catalog.controls import Platform, Text
from server.catalog.targets import TargetedDevice, Targets, matches
from server.catalog.yaml_files import Strict

WEEK = 604_800
Interval = Annotated[int, Field(ge=60, le=WEEK)]
"""Seconds; osquery skips a query whose interval is above a week."""


class PackQuery(Strict):
    """What a pack may say of one of its queries."""

    interval: Interval | None = None


class Pack(Strict):
    """Queries and controls that ship together. Controls bring the queries they judge."""

    title: Text
    interval: Interval = 3600
    platforms: list[Platform] = Field(default=["darwin", "linux", "windows"], min_length=1)
    discovery: list[Text] = Field(default=[])
    """SQL that must answer with a row on the device before any query of the pack runs."""
    queries: dict[str, PackQuery | None] = Field(default_factory=dict)
    controls: list[str] = Field(default=[])
    targets: Targets | None = None
    """Which devices of its platforms it is for; left out, all."""

    @field_validator("platforms", "controls")
    @classmethod
    def _once(cls, names: list[str]) -> list[str]:
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is there twice")
        return names

    def reaches(self, pack_id: str, device: TargetedDevice) -> bool:
        """Whether this pack, whose id is its file's name, is for a device."""
        return matches(self.targets, device, pack=pack_id, platforms=self.platforms)
