"""Firewalls, sharing, remote access and the time service."""

from __future__ import annotations

from server.simulate.areas.shared import a_file, registry, service, setting, unit
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, PASS, Finding, Judges, by
from server.simulate.models import Model
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, Trait

TRAITS = (
    Trait("firewall", "on", ("off", "unknown"), EVERYWHERE),
    Trait("inbound", "blocked", ("open",), EVERYWHERE),
    Trait("clock_service", "on", ("off", "unknown"), ("windows",)),
    Trait("clock_service", "on", ("off",), ("darwin", "linux")),
)


def _inbound(state: State) -> Finding:
    blocked, firewall = state["inbound"] == "blocked", state["firewall"]
    if state.platform != "windows" and firewall != "on":
        return (FAIL, "the firewall is off") if firewall == "off" else (ERROR, "the firewall does not show itself")
    return (PASS, "what was not asked for is kept out") if blocked else (FAIL, "what was not asked for is let in")


JUDGES: Judges = {
    "firewall-on": by(
        "firewall",
        on=(PASS, "the firewall is on"),
        off=(FAIL, "the firewall is off"),
        unknown=(ERROR, "the system does not say whether its firewall is on"),
    ),
    "firewall-blocks-inbound": _inbound,
    "time-service-running": by(
        "clock_service",
        on=(PASS, "the clock is set by a server"),
        off=(FAIL, "nothing sets the clock"),
        unknown=(ERROR, "Windows does not say what sets the clock"),
    ),
}


@FACTS.table("alf", "darwin")
def application_firewall(firewall: str, inbound: str) -> Rows:
    """The application firewall."""
    state = {"on": 1, "off": 0, "unknown": None}[firewall]
    return [{"global_state": state, "stealth_enabled": int(inbound == "blocked"), "version": "1.6"}]


@FACTS.table("augeas", "linux")
def ufw_settings(firewall: str, inbound: str) -> Rows:
    """ufw's settings."""
    return [
        setting("/etc/ufw/ufw.conf", "ENABLED", "yes" if firewall == "on" else "no"),
        setting("/etc/default/ufw", "DEFAULT_INPUT_POLICY", "DROP" if inbound == "blocked" else "ACCEPT"),
    ]


@FACTS.table("systemd_units", "linux")
def network_units(firewall: str, clock_service: str, kind: str, remote: str) -> Rows:
    """The units of the network, and those every machine has."""
    rows = [
        unit("dbus.service", "active", file_state="static"),
        unit("systemd-journald.service", "active", file_state="static"),
        unit("ufw.service", "active" if firewall == "on" else "inactive"),
        unit("chrony.service", "active" if clock_service == "on" else "inactive"),
    ]
    if firewall == "unknown":
        rows.append(unit("nftables.service", "active"))
    if kind == "server" or remote == "on":
        rows.append(unit("ssh.service", "active"))
    return rows


@FACTS.table("registry", "windows")
def firewall_profiles(firewall: str, inbound: str) -> Rows:
    """The firewall's profiles."""
    key = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\SharedAccess\\Parameters\\FirewallPolicy"
    rows: Rows = []
    for profile in ("DomainProfile", "StandardProfile", "PublicProfile"):
        rows.append(registry(f"{key}\\{profile}", "EnableFirewall", int(firewall != "off")))
        rows.append(registry(f"{key}\\{profile}", "DefaultInboundAction", int(inbound == "blocked")))
    return rows


@FACTS.table("services", "windows")
def network_services(shares: str, clock_service: str, kind: str) -> Rows:
    """The services of the network."""
    system, host = "C:\\Windows\\System32", "C:\\Windows\\System32\\svchost.exe -k netsvcs"
    start = "DISABLED" if clock_service == "off" else "DEMAND_START"
    rows = [
        service("LanmanServer", "Server", host),
        service("w32time", "Windows Time", host, running=clock_service != "off", start=start),
        service("Spooler", "Print Spooler", f"{system}\\spoolsv.exe"),
    ]
    if kind == "server":
        rows.append(service("sshd", "OpenSSH SSH Server", f"{system}\\OpenSSH\\sshd.exe"))
    return rows


@FACTS.table("registry", "windows")
def network_values(clock_service: str, remote: str) -> Rows:
    """What sets the clock, and whether one may log in from afar."""
    rows: Rows = []
    control = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet"
    if clock_service != "unknown":
        rows.append(registry(f"{control}\\Services\\W32Time\\Parameters", "Type", "NT5DS", "REG_SZ"))
    if remote != "unknown":
        rows.append(registry(f"{control}\\Control\\Terminal Server", "fDenyTSConnections", int(remote != "on")))
    return rows


@FACTS.table("shared_resources", "windows")
def shared_resources(shares: str) -> Rows:
    """Shared folders: the administrators' own, and others."""
    if shares == "unknown":
        return []
    found = [("ADMIN$", "C:\\Windows", 2_147_483_648, "Disk Drive Admin")]
    found += [("IPC$", "", 2_147_483_651, "IPC Admin")]
    found += [("Transfer", "C:\\Transfer", 0, "Disk Drive")] if shares == "shared" else []
    return [{"name": name, "path": path, "type": kind, "type_name": words} for name, path, kind, words in found]


@FACTS.table("sharing_preferences", "darwin")
def sharing_preferences(kind: str, shares: str, remote: str) -> Rows:
    """What a Mac shares, and who may log in."""
    shared = {"none": 0, "shared": 1, "unknown": None}[shares]
    login = 1 if kind == "server" else {"off": 0, "on": 1, "unknown": None}[remote]
    return [
        {"file_sharing": shared, "internet_sharing": shared and 0, "bluetooth_sharing": shared and 0,
         "printer_sharing": 0, "disc_sharing": shared and 0, "content_caching": 0, "remote_login": login,
         "screen_sharing": 0, "remote_management": 0, "remote_apple_events": 0}
    ]  # fmt: skip


@FACTS.table("augeas", "darwin", "linux")
def sshd_settings(sshd: str) -> Rows:
    """The SSH server's settings."""
    if sshd == "unread":
        return []
    word = "no" if sshd == "keys" else "yes"
    path = "/etc/ssh/sshd_config"
    return [
        setting(path, "PasswordAuthentication", word),
        setting(path, "KbdInteractiveAuthentication", word),
        setting(path, "PermitRootLogin", "no"),
    ]


@FACTS.table("processes", "darwin")
def mac_services(clock_service: str) -> Rows:
    """The service that sets the clock."""
    timed: Rows = [{"pid": 214, "name": "timed", "path": "/usr/libexec/timed", "state": "S", "uid": 266, "on_disk": 1}]
    return timed if clock_service == "on" else []


@FACTS.table("interface_details")
def interface_details(platform: str, hardware_uuid: str, model: Model) -> Rows:
    """The network card; its address goes with the hardware."""
    digits = hardware_uuid.replace("-", "")[-10:].lower()
    mac = "02:" + ":".join(digits[at : at + 2] for at in range(0, 10, 2))
    name = {"darwin": "en0", "linux": "enp1s0", "windows": "12"}[platform]
    return [
        {"interface": name, "mac": mac, "type": 6, "mtu": 1500, "description": "Ethernet", "manufacturer": model.vendor,
         "physical_adapter": 1, "enabled": 1}
    ]  # fmt: skip


@FACTS.table("file", "linux")
def network_files() -> Rows:
    """Files that are on every machine."""
    return [a_file("/etc/passwd", size=1840), a_file("/etc/ssh/sshd_config")]
