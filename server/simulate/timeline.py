"""What is true on a device at an instant, and when it changes. A function of the device, the span and the time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from server.simulate.areas import TRAITS
from server.simulate.device import Device
from server.simulate.models import (
    AGENT,
    AGENT_BEFORE,
    AGENT_OLD,
    BEHIND,
    BROWSER,
    OLD_BROWSER,
    PASSWORD_MANAGER,
    PROHIBITED,
    RELEASES,
    SOFTWARE,
    UNSUPPORTED,
    Release,
    Software,
)
from server.simulate.presence import DAY, Span, window
from server.simulate.state import State
from server.simulate.traits import Character

CRITICAL = ("system_volume", "listening_ports", "osquery_info", "os_version")
"""Queries that parts interfere with."""
DISK_TABLE = {"darwin": "disk_encryption", "linux": "disk_encryption", "windows": "bitlocker_info"}


def state_at(device: Device, span: Span, now: float) -> State:
    """The facts of a device at an instant of true time. Changes fall into the middle of the working day."""
    return state_of(device, span, state_day(device, now))


def state_day(device: Device, now: float) -> int:
    """The day whose facts hold at an instant: they do from its noon to the noon of the next."""
    noon = (device.site.opens + device.site.closes) // 2
    return (int(now) - noon) // DAY


def state_of(device: Device, span: Span, day: int) -> State:
    """The facts from the noon of a day to the noon of the next."""
    begin, end = window(device, span)
    since, within, part = day >= begin, begin <= day < end, device.part
    traits = _character(device, span).on(day)
    return State(
        platform=device.platform,
        kind=device.kind,
        hostname=device.hostname,
        hardware_uuid=device.hardware_uuid,
        serial=device.serial,
        owner=device.owner,
        model=device.model,
        release=_release(device, span, day, traits),
        agent=_agent(device, span, day),
        encrypted=not (
            part == "unencrypted" or (part == "encrypted_later" and not since) or (part == "decrypted" and since)
        ),
        guest=part == "guest_on" and within,
        guest_unset=part == "guest_unset",
        second_root=part == "second_root" and within,
        telnet=part == "telnet" and within,
        software=_software(device, span, day, traits),
        broken=_broken(device) if part == "failing" and within else _NONE,
        denied=frozenset([_critical(device)]) if part == "denylisted" and within else _NONE,
        missing=frozenset([_critical(device)]) if part == "old_config" else _NONE,
        traits=traits,
    )


@lru_cache(maxsize=65_536)
def _character(device: Device, span: Span) -> Character:
    return Character(device, span, TRAITS)


_NONE: frozenset[str] = frozenset()


def _critical(device: Device) -> str:
    return device.dice.pick(CRITICAL, "critical")


def _broken(device: Device) -> frozenset[str]:
    return frozenset([device.dice.pick((DISK_TABLE[device.platform], "listening_ports"), "broken")])


def _release(device: Device, span: Span, day: int, traits: Mapping[str, str]) -> Release:
    """Patched on a day of its own; unsupported ones stay, or are replaced late."""
    begin, _ = window(device, span)
    key = (device.platform, device.kind)
    if device.part == "unsupported" or (device.part == "upgraded_late" and day < begin):
        return UNSUPPORTED[key]
    if traits.get("patches") == "behind":
        return BEHIND[key]
    patched = span.at(0.1 + 0.8 * device.dice.share("patched"))
    return RELEASES[key][-1 if day >= patched else -2]


def _agent(device: Device, span: Span, day: int) -> str:
    begin, _ = window(device, span)
    if device.part == "old_agent" or (device.part == "agent_updated" and day < begin):
        return AGENT_OLD
    return AGENT if day >= span.at(0.6 * device.dice.share("rollout")) else AGENT_BEFORE


def _software(device: Device, span: Span, day: int, traits: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """Applications move to their next versions at their own times; servers have none."""
    if device.kind == "server":
        return ()
    installed = []
    for item in SOFTWARE:
        if _has(device, item, traits):
            due = [span.at(device.dice.share("update", item.name, n)) for n in range(1, len(item.versions))]
            version = item.versions[sum(day >= at for at in due)]
            if item is BROWSER:
                version = {"current": version, "old": OLD_BROWSER, "unversioned": ""}[traits["browser"]]
            installed.append((item.name, item.identifier, version))
    if device.part == "prohibited" and day >= window(device, span)[0]:
        installed.append((PROHIBITED.name, PROHIBITED.identifier, PROHIBITED.versions[0]))
    return tuple(installed)


def _has(device: Device, item: Software, traits: Mapping[str, str]) -> bool:
    if item is PASSWORD_MANAGER:
        return traits["password_manager"] == "installed"
    return (traits["browser"] != "current" and item is BROWSER) or device.dice.chance(0.8, "has", item.name)
