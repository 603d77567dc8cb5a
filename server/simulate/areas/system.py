"""The machine, its operating system and its clock."""

from __future__ import annotations

from server.simulate.areas.shared import a_file, registry
from server.simulate.device import PLACEHOLDER_SERIAL
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import FAIL, PASS, Finding, Judges, by
from server.simulate.models import UNSUPPORTED, Model, Release
from server.simulate.presence import DAY, HOUR
from server.simulate.state import State
from server.simulate.traits import Trait

TRAITS = (
    Trait("restart", "recent", ("overdue",), ("darwin",)),
    Trait("restart", "recent", ("overdue", "pending"), ("linux", "windows")),
)
ARCH = {"darwin": "arm64", "linux": "x86_64", "windows": "64-bit"}


def _release(state: State) -> Finding:
    if state.release in UNSUPPORTED.values():
        return FAIL, f"{state.release.name} {state.release.version} gets no patches any more"
    return PASS, f"{state.release.name} {state.release.version} still gets patches"


def _identity(state: State) -> Finding:
    nobody = state.serial == PLACEHOLDER_SERIAL
    return (FAIL, "the serial number is a placeholder") if nobody else (PASS, "the machine has a name of its own")


JUDGES: Judges = {
    "release-supported": _release,
    "device-identity-complete": _identity,
    "reboot-not-overdue": by(
        "restart",
        recent=(PASS, "it was restarted this week"),
        overdue=(FAIL, "it has not been restarted for months"),
        pending=(FAIL, "updates have waited for a restart for months"),
    ),
}


def booted_at(state: State, week: int, long_ago: int) -> int:
    """When the machine was started, in unix seconds: in the first hour of a week, or before the span."""
    return (long_ago if state["restart"] == "overdue" else week) * DAY


@FACTS.table("os_version", "darwin", "linux")
def os_version(platform: str, release: Release) -> Rows:
    """The operating system."""
    return [_os_version(platform, release)]


@FACTS.table("os_version", "windows")
def windows_version(platform: str, release: Release, long_ago: int) -> Rows:
    """Windows, and when it was installed."""
    return [_os_version(platform, release) | {"install_date": (long_ago - 200) * DAY}]


def _os_version(platform: str, release: Release) -> dict[str, object]:
    return {
        "name": release.name,
        "version": release.version,
        "major": release.major,
        "minor": release.minor,
        "patch": release.patch,
        "build": release.build,
        "platform": release.platform,
        "platform_like": release.platform_like,
        "codename": release.codename,
        "arch": ARCH[platform],
        "extra": "",
        "revision": release.revision,
    }


@FACTS.table("system_info")
def system_info(platform: str, hostname: str, hardware_uuid: str, serial: str, model: Model) -> Rows:
    """The machine."""
    return [
        {
            "hostname": hostname,
            "computer_name": hostname,
            "local_hostname": hostname,
            "uuid": hardware_uuid,
            "cpu_type": "arm64e" if platform == "darwin" else "x86_64",
            "cpu_brand": model.cpu,
            "cpu_physical_cores": model.cores,
            "cpu_logical_cores": model.cores,
            "cpu_sockets": 1,
            "physical_memory": model.memory,
            "hardware_vendor": model.vendor,
            "hardware_model": model.model,
            "hardware_serial": serial,
        }
    ]


@FACTS.table("time")
def time(clock: int) -> Rows:
    """What the device's own clock shows."""
    return [{"unix_time": clock, "timezone": "UTC"}]


@FACTS.table("uptime")
def seconds_up(uptime: int) -> Rows:
    """How long the machine has been running, which does not depend on its clock."""
    return [
        {
            "days": uptime // DAY,
            "hours": uptime % DAY // HOUR,
            "minutes": uptime % HOUR // 60,
            "seconds": uptime % 60,
            "total_seconds": uptime,
        }
    ]


@FACTS.table("platform_info")
def platform_info(platform: str, model: Model) -> Rows:
    """The firmware; osquery leaves the table empty on many Linux machines."""
    if platform == "linux":
        return []
    return [{"vendor": model.vendor, "version": "1.24", "date": "2026-03-02", "firmware_type": "uefi"}]


@FACTS.table("kernel_info")
def kernel_info(platform: str, release: Release) -> Rows:
    """The kernel, which moves with the release."""
    version = {
        "darwin": f"{release.major - 1}.{release.minor}.{release.patch}",
        "linux": f"6.{release.major}.0-{40 + release.minor + release.patch}-generic",
        "windows": f"{release.version}.{release.revision}",
    }[platform]
    return [{"version": version, "arguments": "", "path": "", "device": ""}]


@FACTS.table("file", "linux")
def restart_file(restart: str, long_ago: int) -> Rows:
    """The file by which Debian says that it waits for a restart."""
    return [a_file("/run/reboot-required", mtime=long_ago * DAY)] if restart == "pending" else []


@FACTS.table("registry", "windows")
def restart_key(restart: str, long_ago: int) -> Rows:
    """The key by which Windows says that it waits for a restart."""
    if restart != "pending":
        return []
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update"
    return [registry(key, "RebootRequired", "", "subkey") | {"mtime": long_ago * DAY}]
