"""What is true on a device at an instant, and when it changes. A function of the device, the span and the time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from server.simulate.device import Device
from server.simulate.models import (
    AGENT,
    AGENT_BEFORE,
    AGENT_OLD,
    PROHIBITED,
    RELEASES,
    SOFTWARE,
    UNSUPPORTED,
    Model,
    Release,
)
from server.simulate.presence import DAY, Span, window

CRITICAL = ("system_volume", "listening_ports", "osquery_info", "os_version")
"""Queries that parts interfere with."""
DISK_TABLE = {"darwin": "disk_encryption", "linux": "disk_encryption", "windows": "bitlocker_info"}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The facts of a device between two changes. Two equal states give equal answers."""

    platform: str
    kind: str
    hostname: str
    hardware_uuid: str
    serial: str
    owner: str
    model: Model
    release: Release
    agent: str
    encrypted: bool
    guest: bool
    guest_unset: bool
    """Nobody ever touched the login window's switch for guests, so its file does not name it."""
    second_root: bool
    telnet: bool
    software: tuple[tuple[str, str, str], ...]
    """Name, identifier and version of what is installed."""
    broken: frozenset[str]
    """Tables that cannot be read."""
    denied: frozenset[str]
    """Queries osquery has denylisted, by their plain name."""
    missing: frozenset[str]
    """Queries that the config this device still runs does not have."""

    def aspects(self) -> dict[str, Any]:
        """The facts by name, as the makers of rows ask for them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def state_at(device: Device, span: Span, now: float) -> State:
    """The facts of a device at an instant of true time. Changes fall into the middle of the working day."""
    noon = (device.site.opens + device.site.closes) // 2
    return _state(device, span, (int(now) - noon) // DAY)


@lru_cache(maxsize=65_536)
def _state(device: Device, span: Span, day: int) -> State:
    """The facts from the noon of a day to the noon of the next."""
    begin, end = window(device, span)
    since, within, part = day >= begin, begin <= day < end, device.part
    return State(
        platform=device.platform,
        kind=device.kind,
        hostname=device.hostname,
        hardware_uuid=device.hardware_uuid,
        serial=device.serial,
        owner=device.owner,
        model=device.model,
        release=_release(device, span, day),
        agent=_agent(device, span, day),
        encrypted=not (
            part == "unencrypted" or (part == "encrypted_later" and not since) or (part == "decrypted" and since)
        ),
        guest=part == "guest_on" and within,
        guest_unset=part == "guest_unset",
        second_root=part == "second_root" and within,
        telnet=part == "telnet" and within,
        software=_software(device, span, day),
        broken=_broken(device) if part == "failing" and within else _NONE,
        denied=frozenset([_critical(device)]) if part == "denylisted" and within else _NONE,
        missing=frozenset([_critical(device)]) if part == "old_config" else _NONE,
    )


_NONE: frozenset[str] = frozenset()


def _critical(device: Device) -> str:
    return device.dice.pick(CRITICAL, "critical")


def _broken(device: Device) -> frozenset[str]:
    return frozenset([device.dice.pick((DISK_TABLE[device.platform], "listening_ports"), "broken")])


def _release(device: Device, span: Span, day: int) -> Release:
    """Patched on a day of its own; unsupported ones stay, or are replaced late."""
    begin, _ = window(device, span)
    key = (device.platform, device.kind)
    if device.part == "unsupported" or (device.part == "upgraded_late" and day < begin):
        return UNSUPPORTED[key]
    patched = span.at(0.1 + 0.8 * device.dice.share("patched"))
    return RELEASES[key][-1 if day >= patched else -2]


def _agent(device: Device, span: Span, day: int) -> str:
    begin, _ = window(device, span)
    if device.part == "old_agent" or (device.part == "agent_updated" and day < begin):
        return AGENT_OLD
    return AGENT if day >= span.at(0.6 * device.dice.share("rollout")) else AGENT_BEFORE


def _software(device: Device, span: Span, day: int) -> tuple[tuple[str, str, str], ...]:
    """Applications move to their next versions at their own times; servers have none."""
    if device.kind == "server":
        return ()
    installed = []
    for item in SOFTWARE:
        if device.dice.chance(0.8, "has", item.name):
            due = [span.at(device.dice.share("update", item.name, n)) for n in range(1, len(item.versions))]
            installed.append((item.name, item.identifier, item.versions[sum(day >= at for at in due)]))
    if device.part == "prohibited" and day >= window(device, span)[0]:
        installed.append((PROHIBITED.name, PROHIBITED.identifier, PROHIBITED.versions[0]))
    return tuple(installed)
