"""Patches of the operating system, and whether they come by themselves."""

from __future__ import annotations

from server.simulate.areas.shared import a_file, registry, setting, unit
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, NOT_APPLICABLE, PASS, Finding, Judges, by
from server.simulate.models import BEHIND, UNSUPPORTED
from server.simulate.presence import DAY
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, Trait

TRAITS = (
    Trait("patches", "current", ("behind",), ("darwin", "windows")),
    Trait("auto_update", "on", ("off", "unknown"), EVERYWHERE),
    Trait("system_update", "recent", ("old", "unknown"), ("windows",)),
    Trait("system_update", "recent", ("old",), ("linux",)),
)


def _automatic(state: State) -> Finding:
    if state.platform == "windows" and state.kind == "server":
        return NOT_APPLICABLE, "servers are patched by hand"
    return {
        "on": (PASS, "updates come by themselves"),
        "off": (FAIL, "updates do not come by themselves"),
        "unknown": (ERROR, "the system does not say whether updates come by themselves"),
    }[state["auto_update"]]


def _level(state: State) -> Finding:
    if state.release in (*BEHIND.values(), *UNSUPPORTED.values()):
        return FAIL, f"{state.release.version} has known holes"
    return PASS, f"{state.release.version} is patched"


JUDGES: Judges = {
    "os-auto-update-enabled": _automatic,
    "os-patch-level-minimum": _level,
    "security-update-recent": by(
        "system_update",
        recent=(PASS, "it was updated this week"),
        old=(FAIL, "it has not been updated for months"),
        unknown=(ERROR, "Windows does not say when it was updated"),
    ),
}


@FACTS.table("plist", "darwin")
def mac_updates(auto_update: str) -> Rows:
    """The settings of macOS' updates."""
    if auto_update == "unknown":
        return []
    names = ("AutomaticCheckEnabled", "AutomaticDownload", "CriticalUpdateInstall", "AutomaticallyInstallMacOSUpdates")
    path = "/Library/Preferences/com.apple.SoftwareUpdate.plist"
    return [{"path": path, "key": name, "value": int(auto_update == "on")} for name in names]


@FACTS.table("package_install_history", "darwin")
def mac_update_history(week: int) -> Rows:
    """The last update of macOS."""
    return [
        {"package_id": "com.apple.pkg.update.os", "time": week * DAY, "name": "macOS", "source": "softwareupdated",
         "content_type": ""}
    ]  # fmt: skip


@FACTS.table("augeas", "linux")
def apt_settings(auto_update: str) -> Rows:
    """How often apt installs by itself, in days."""
    if auto_update == "unknown":
        return []  # the file is there, and cannot be read
    node = "APT/Periodic/Unattended-Upgrade"
    return [setting("/etc/apt/apt.conf.d/20auto-upgrades", node, "1" if auto_update == "on" else "0")]


@FACTS.table("file", "linux")
def apt_files() -> Rows:
    """apt's file of that, and what it has upgrade."""
    return [a_file("/etc/apt/apt.conf.d/20auto-upgrades", size=80), a_file("/usr/bin/unattended-upgrade", size=90_000)]


@FACTS.table("systemd_units", "linux")
def apt_timer() -> Rows:
    """The timer that has apt install."""
    return [unit("apt-daily-upgrade.timer", "active")]


@FACTS.table("registry", "windows")
def windows_updates(auto_update: str) -> Rows:
    """The policy that forbids updates."""
    if auto_update != "off":
        return []
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU"
    return [registry(key, "NoAutoUpdate", 1)]


@FACTS.table("windows_update_history", "windows")
def windows_update_history(system_update: str, week: int, long_ago: int) -> Rows:
    """What Windows Update installed."""
    if system_update == "unknown":
        return []
    days = (long_ago, week) if system_update == "recent" else (long_ago,)
    return [
        {"date": day * DAY, "operation": "Installation", "result_code": "Succeeded",
         "title": "2026-10 Cumulative Update for Windows (KB5067036)"}
        for day in days
    ]  # fmt: skip
