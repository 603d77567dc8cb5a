"""osquery itself, its config, and who manages the device."""

from __future__ import annotations

from server.simulate.areas.shared import service, unit
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import FAIL, PASS, Finding, Judges, by
from server.simulate.models import AGENT_OLD, PLATFORM_TYPES
from server.simulate.presence import HOUR
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, Trait

TRAITS = (
    Trait("agent_config", "valid", ("invalid",), EVERYWHERE),
    Trait("agent_flags", "as_installed", ("tampered",), EVERYWHERE),
    Trait("agent_extension", "none", ("other",), EVERYWHERE),
    Trait("mdm", "managed", ("by_hand",), ("darwin",)),
    Trait("puppet", "running", ("missing",), ("linux",)),
)


def _version(state: State) -> Finding:
    return (FAIL if state.agent == AGENT_OLD else PASS), f"osquery is {state.agent}"


def _running(state: State) -> Finding:
    if state.denied:
        return FAIL, f"osquery has denylisted {', '.join(sorted(state.denied))}"
    return PASS, "every query runs"


JUDGES: Judges = {
    "osquery-current": _version,
    "agent-queries-running": _running,
    "agent-config-valid": by(
        "agent_config", valid=(PASS, "osquery runs a good config"), invalid=(FAIL, "osquery has no good config")
    ),
    "agent-flags-untampered": by(
        "agent_flags", as_installed=(PASS, "the flags are as installed"), tampered=(FAIL, "the watchdog is off")
    ),
    "agent-extensions-approved": by(
        "agent_extension", none=(PASS, "osquery runs alone"), other=(FAIL, "an extension runs that nobody approved")
    ),
    "device-under-management": by(
        "mdm", managed=(PASS, "the device is managed"), by_hand=(FAIL, "its profiles were installed by hand")
    ),
    "configuration-management-active": by(
        "puppet", running=(PASS, "Puppet runs"), missing=(FAIL, "nothing manages the configuration")
    ),
}
OSQUERYD = 412
"""Its process id."""


@FACTS.table("osquery_info")
def osquery_info(
    platform: str,
    agent: str,
    agent_config: str,
    hardware_uuid: str,
    instance_id: str,
    config_hash: str,
    started_at: int,
) -> Rows:
    """The osquery that answers."""
    return [
        {
            "pid": OSQUERYD,
            "uuid": hardware_uuid,
            "instance_id": instance_id,
            "version": agent,
            "config_hash": config_hash,
            "config_valid": int(agent_config == "valid"),
            "extensions": "active",
            "build_platform": platform,
            "build_distro": {"darwin": "10.15", "linux": "centos7", "windows": "10"}[platform],
            "start_time": started_at,
            "watcher": 398,
            "platform_mask": PLATFORM_TYPES[platform],
        }
    ]


@FACTS.table("processes")
def osqueryd(platform: str) -> Rows:
    """osquery's process, with all rights."""
    paths = {
        "darwin": "/opt/osquery/lib/osquery.app/Contents/MacOS/osqueryd",
        "linux": "/opt/osquery/bin/osqueryd",
        "windows": "C:\\Program Files\\osquery\\osqueryd\\osqueryd.exe",
    }
    path = paths[platform]
    name = "osqueryd.exe" if platform == "windows" else "osqueryd"
    uid = 18 if platform == "windows" else 0
    return [{"pid": OSQUERYD, "name": name, "path": path, "state": "S", "uid": uid, "gid": uid, "on_disk": 1}]


@FACTS.table("osquery_schedule")
def osquery_schedule(schedule: tuple[tuple[str, str, str, int], ...], denied: frozenset[str], hour: int) -> Rows:
    """What is scheduled. ``schedule`` has scheduled name, plain name, SQL and interval; counters grow by the hour."""
    runs = hour % 500 + 1
    return [
        {
            "name": name,
            "query": sql,
            "interval": interval,
            "executions": runs,
            "last_executed": 0 if query in denied else hour * HOUR,
            "denylisted": int(query in denied),
            "output_size": runs * 40 * len(query),
            "wall_time": 0,
            "wall_time_ms": runs * 3,
            "user_time": runs * 2,
            "system_time": runs,
            "average_memory": 135_168,
        }
        for name, query, sql, interval in schedule
    ]


@FACTS.table("osquery_registry")
def osquery_registry(platform: str) -> Rows:
    """The parts of this build; of the tables only those that packs ask for before they run."""
    tables = {"linux": ("deb_packages", "rpm_packages", "users"), "darwin": ("apps", "users"), "windows": ("programs",)}
    return [
        {"registry": "table", "name": name, "owner_uuid": 0, "internal": 0, "active": 1} for name in tables[platform]
    ]


@FACTS.table("osquery_flags")
def osquery_flags(agent_flags: str) -> Rows:
    """The flags it was started with."""
    values = {
        "allow_unsafe": "false",
        "config_plugin": "tls",
        "disable_decorators": "false",
        "disable_enrollment": "false",
        "disable_logging": "false",
        "disable_reenrollment": "false",
        "disable_tables": "",
        "disable_watchdog": "true" if agent_flags == "tampered" else "false",
        "enable_tables": "",
        "host_identifier": "hostname",
        "logger_event_type": "false",
        "logger_plugin": "tls",
        "logger_snapshot_event_type": "false",
        "nullvalue": "",
        "tls_disable_status_log": "false",
        "tls_hostname": "muster.example.com",
        "verbose": "false",
    }
    return [{"name": name, "type": "string", "value": value, "shell_only": 0} for name, value in values.items()]


@FACTS.table("osquery_extensions")
def osquery_extensions(agent: str, agent_extension: str) -> Rows:
    """osquery lists itself beside its extensions."""
    rows: Rows = [{"uuid": 0, "name": "core", "version": agent, "sdk_version": "0.0.0", "type": "core"}]
    if agent_extension == "other":
        rows.append({"uuid": 4711, "name": "lab_tables", "version": "1.0", "sdk_version": agent, "type": "extension"})
    return rows


@FACTS.table("services", "windows")
def osquery_service() -> Rows:
    """osquery's service."""
    path = '"C:\\Program Files\\osquery\\osqueryd\\osqueryd.exe" --flagfile="C:\\Program Files\\osquery\\osquery.flags"'
    return [service("osqueryd", "osqueryd", path)]


@FACTS.table("systemd_units", "linux")
def agent_units(puppet: str) -> Rows:
    """osquery's unit, and Puppet's."""
    rows = [unit("osqueryd.service", "active")]
    if puppet == "running":
        rows.append(unit("puppet.service", "active"))
    return list(rows)


@FACTS.table("managed_policies", "darwin")
def managed_policies(mdm: str) -> Rows:
    """A setting of the management's profile."""
    return [
        {"domain": "com.apple.applicationaccess", "name": "forceDelayedSoftwareUpdates", "value": "0", "username": "",
         "manual": int(mdm == "by_hand")}
    ]  # fmt: skip


@FACTS.table("registry", "windows")
def enrollment() -> Rows:
    """The management the device is enrolled with."""
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Enrollments\\6F9D0C51-2C0E-4C2D-9B0B-7D2D7C0B2A11"
    return [{"key": key, "path": f"{key}\\ProviderID", "name": "ProviderID", "type": "REG_SZ", "data": "MS DM Server"}]
