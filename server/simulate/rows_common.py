"""Rows of the tables that every platform has."""

from __future__ import annotations

from server.simulate.facts import FACTS, Rows
from server.simulate.models import PLATFORM_TYPES, Model, Release

ARCH = {"darwin": "arm64", "linux": "x86_64", "windows": "64-bit"}
HOUR, DAY = 3600, 86_400


@FACTS.table("os_version")
def os_version(platform: str, release: Release) -> Rows:
    """The operating system."""
    return [
        {
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
    ]


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


@FACTS.table("osquery_info")
def osquery_info(
    platform: str, agent: str, hardware_uuid: str, instance_id: str, config_hash: str, started_at: int
) -> Rows:
    """The osquery that answers."""
    return [
        {
            "pid": 412,
            "uuid": hardware_uuid,
            "instance_id": instance_id,
            "version": agent,
            "config_hash": config_hash,
            "config_valid": 1,
            "extensions": "active",
            "build_platform": platform,
            "build_distro": {"darwin": "10.15", "linux": "centos7", "windows": "10"}[platform],
            "start_time": started_at,
            "watcher": 398,
            "platform_mask": PLATFORM_TYPES[platform],
        }
    ]


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


@FACTS.table("platform_info")
def platform_info(platform: str, model: Model) -> Rows:
    """The firmware; osquery leaves the table empty on many Linux machines."""
    if platform == "linux":
        return []
    return [{"vendor": model.vendor, "version": "1.24", "date": "2026-03-02", "firmware_type": "uefi"}]


@FACTS.table("processes")
def processes(platform: str, kind: str, telnet: bool) -> Rows:
    """The processes that listen."""
    return [
        {"pid": pid, "name": name, "path": f"/usr/sbin/{name}", "state": "S", "uid": 0, "gid": 0, "on_disk": 1}
        for pid, name, *_ in listeners(platform, kind, telnet)
    ]


@FACTS.table("listening_ports")
def listening_ports(platform: str, kind: str, telnet: bool) -> Rows:
    """The ports they listen on, and the Unix sockets."""
    rows: Rows = [
        {"pid": pid, "port": port, "protocol": protocol, "family": 2, "address": address, "fd": 5, "socket": pid + 7000}
        for pid, _, port, protocol, address in listeners(platform, kind, telnet)
        if port
    ]
    if platform != "windows":
        mac = ("/var/run/syslog", "/var/run/mDNSResponder", "/var/run/usbmuxd")
        linux = ("/run/dbus/system_bus_socket", "/run/systemd/journal/stdout", "/run/udev/control")
        sockets = mac if platform == "darwin" else linux
        rows += [
            {"pid": 1, "port": 0, "protocol": 0, "family": 1, "address": "", "fd": at, "socket": at + 900, "path": path}
            for at, path in enumerate(sockets)
        ]
    return rows


def listeners(platform: str, kind: str, telnet: bool) -> list[tuple[int, str, int, int, str]]:
    """Who listens where: process id, process, port, protocol (6 TCP, 17 UDP) and address."""
    found = [(1, {"darwin": "launchd", "linux": "systemd", "windows": "System"}[platform], 0, 6, "")]
    if platform == "windows":
        found += [
            (888, "svchost.exe", 135, 6, "0.0.0.0"),
            (4, "System", 445, 6, "::"),
            (1204, "svchost.exe", 5040, 6, "0.0.0.0"),
        ]
    elif platform == "darwin":
        found += [(411, "ControlCenter", 5000, 6, "0.0.0.0"), (399, "mDNSResponder", 5353, 17, "0.0.0.0")]
    else:
        found += [(702, "systemd-resolved", 53, 17, "127.0.0.53"), (790, "chronyd", 323, 17, "127.0.0.1")]
    if kind == "server":
        found += [(950, "sshd", 22, 6, "0.0.0.0"), (1310, "nginx", 443, 6, "0.0.0.0")]
    if telnet:
        found.append((2023, "tlntsvr.exe" if platform == "windows" else "telnetd", 23, 6, "0.0.0.0"))
    return found
