"""Who is enrolling: the facts of an enrolment, and the identity behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.normalize.text import clean_text
from server.wire.messages import Enrollment, Row

PLATFORM_BITS = {"windows": 0x02, "darwin": 0x10, "linux": 0x08}
"""Bits of osquery's platform mask that name an operating system (posix, 0x01, does not)."""

_PLACEHOLDER_UUIDS = frozenset(
    {
        "",
        "00000000-0000-0000-0000-000000000000",
        "03000200-0400-0500-0006-000700080009",
        "03020100-0504-0706-0809-0a0b0c0d0e0f",
        "10000000-0000-8000-0040-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    }
)
_PLACEHOLDER_SERIALS = frozenset(
    {
        "",
        "0",
        "-1",
        "none",
        "n/a",
        "default string",
        "not specified",
        "not available",
        "system serial number",
        "to be filled by o.e.m.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What an enrolment says of its device; empty text where it says nothing.

    ``instance_id`` is osquery's own mark of an installation: a machine that is renamed keeps it.
    """

    hostname: str
    hardware_uuid: str
    serial: str
    platform: str
    os_name: str
    os_version: str
    osquery_version: str
    instance_id: str = ""

    @property
    def identity(self) -> str:
        """The same text for the same machine, or empty where only placeholders are known.

        A machine without a readable serial is told by its UUID alone; one without a UUID cannot be told at all, since
        a serial is unique only within its vendor.
        """
        uuid = usable_uuid(self.hardware_uuid)
        return f"{uuid}|{usable_serial(self.serial)}" if uuid else ""

    @property
    def identity_by_name(self) -> str:
        """The identity of one of several machines that have all of ``identity`` in common."""
        return f"{self.identity}\n{self.hostname.lower()}" if self.identity else ""


def usable_uuid(uuid: str) -> str:
    """A hardware UUID in lower case; empty for a placeholder, which many machines have."""
    uuid = uuid.strip().lower()
    return "" if uuid in _PLACEHOLDER_UUIDS else uuid


def usable_serial(serial: str) -> str:
    """A serial in lower case; empty for a placeholder, which many machines have."""
    serial = serial.strip().lower()
    return "" if serial in _PLACEHOLDER_SERIALS else serial


def facts_of(enrollment: Enrollment) -> DeviceFacts:
    """Read the facts of an enrolment; a table osquery left out leaves its facts empty."""
    system = enrollment.host_details.get("system_info", {})
    release = enrollment.host_details.get("os_version", {})
    agent = enrollment.host_details.get("osquery_info", {})
    return DeviceFacts(
        hostname=_text(system, "hostname") or _text(system, "computer_name") or _short(enrollment.host_identifier),
        hardware_uuid=_text(system, "uuid") or _text(agent, "uuid"),
        serial=_text(system, "hardware_serial"),
        platform=platform_of(enrollment.platform_type) or _platform_named(_text(release, "platform")),
        os_name=_text(release, "name"),
        os_version=_text(release, "version"),
        osquery_version=_text(agent, "version"),
        instance_id=_text(agent, "instance_id"),
    )


def platform_of(platform_type: str) -> str:
    """``9`` (posix and linux) as ``linux``; empty for a mask that names no platform of ours."""
    if not (platform_type.isascii() and platform_type.isdecimal() and len(platform_type) < 10):
        return ""
    mask = int(platform_type)
    return next((name for name, bit in PLATFORM_BITS.items() if mask & bit), "")


def _platform_named(name: str) -> str:
    if name in ("darwin", "windows"):
        return name
    return "linux" if name else ""


def _text(row: Row | Mapping[str, object], column: str) -> str:
    value = row.get(column)
    return _short(value) if isinstance(value, str) else ""


def _short(text: str) -> str:
    return clean_text(text).strip()[:255]
