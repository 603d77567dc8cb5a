"""What listens on the network, and the processes behind it."""

from __future__ import annotations

from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, NOT_APPLICABLE, PASS, Finding, Judges, by
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, LAPTOP, Trait

TRAITS = (
    Trait("shares", "none", ("shared", "unknown"), ("darwin", "windows")),
    Trait("shares", "none", ("shared",), ("linux",)),
    Trait("remote", "off", ("on", "unknown"), ("darwin", "windows"), LAPTOP),
    Trait("remote", "off", ("on",), ("linux",), LAPTOP),
    Trait("sshd", "keys", ("passwords", "unread"), ("darwin", "linux")),
    Trait("other_port", "closed", ("open",), EVERYWHERE),
)


def takes_ssh(platform: str, kind: str, remote: str) -> bool:
    """Whether one may log in over SSH from the network: on every server, and where somebody switched it on."""
    return kind == "server" or (remote == "on" and platform != "windows")


def _cleartext(state: State) -> Finding:
    return (FAIL, "telnet listens on every address") if state.telnet else (PASS, "nothing speaks in clear text")


def _remote(state: State) -> Finding:
    if state["remote"] == "on" or takes_ssh(state.platform, state.kind, state["remote"]):
        return FAIL, "one may log in from the network"
    if state["remote"] == "unknown":
        return ERROR, "the system does not say whether one may log in from the network"
    return PASS, "nobody may log in from the network"


def _sshd(state: State) -> Finding:
    if state["remote"] == "unknown" and state.kind == "laptop":
        return ERROR, "the Mac does not say whether its SSH server is on"
    if not takes_ssh(state.platform, state.kind, state["remote"]):
        return NOT_APPLICABLE, "no SSH server runs"
    return {
        "keys": (PASS, "the SSH server takes keys only"),
        "passwords": (FAIL, "the SSH server takes passwords"),
        "unread": (ERROR, "the SSH server's settings cannot be read"),
    }[state["sshd"]]


def _approved(state: State) -> Finding:
    # Of the servers' ports that of the web is not on the list that is shipped.
    shared = state.platform == "linux" and state["shares"] == "shared"
    if state.telnet or shared or state.kind == "server" or state["other_port"] == "open":
        return FAIL, "something listens that nobody approved"
    return PASS, "only approved programs listen"


JUDGES: Judges = {
    "no-cleartext-remote-access": _cleartext,
    "file-sharing-off": by(
        "shares",
        none=(PASS, "nothing is shared"),
        shared=(FAIL, "a folder is shared"),
        unknown=(ERROR, "the system does not say whether anything is shared"),
    ),
    "remote-access-off": _remote,
    "sshd-without-passwords": _sshd,
    "listening-ports-approved": _approved,
}


@FACTS.table("processes")
def processes(platform: str, kind: str, telnet: bool, shares: str, remote: str, other_port: str) -> Rows:
    """The processes that listen."""
    found = _listeners(platform, kind, telnet, shares, remote, other_port)
    return [
        {"pid": pid, "name": name, "path": f"/usr/sbin/{name}", "state": "S", "uid": 0, "gid": 0, "on_disk": 1}
        for pid, name, *_ in found
    ]


@FACTS.table("listening_ports")
def listening_ports(platform: str, kind: str, telnet: bool, shares: str, remote: str, other_port: str) -> Rows:
    """The ports they listen on, and the Unix sockets, which no query asks for."""
    rows: Rows = [
        {"pid": pid, "port": port, "protocol": protocol, "family": 2, "address": address, "fd": 5, "socket": pid + 7000}
        for pid, _, port, protocol, address in _listeners(platform, kind, telnet, shares, remote, other_port)
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


Listener = tuple[int, str, int, int, str]
_USUAL: dict[str, tuple[Listener, ...]] = {
    "darwin": (
        (1, "launchd", 0, 6, ""),
        (411, "ControlCenter", 5000, 6, "0.0.0.0"),
        (399, "mDNSResponder", 5353, 17, "0.0.0.0"),
    ),
    "linux": (
        (1, "systemd", 0, 6, ""),
        (702, "systemd-resolved", 53, 17, "127.0.0.53"),
        (790, "chronyd", 323, 17, "127.0.0.1"),
    ),
    "windows": (
        (4, "System", 445, 6, "::"),
        (888, "svchost.exe", 135, 6, "0.0.0.0"),
        (1204, "svchost.exe", 5040, 6, "0.0.0.0"),
    ),
}


def _listeners(platform: str, kind: str, telnet: bool, shares: str, remote: str, other_port: str) -> list[Listener]:
    """Who listens where: process id, process, port, protocol (6 TCP, 17 UDP) and address."""
    found = list(_USUAL[platform])
    if takes_ssh(platform, kind, remote):
        found.append((950, "sshd", 22, 6, "0.0.0.0"))
    if kind == "server":
        found.append((1310, "nginx", 443, 6, "0.0.0.0"))
    if platform == "linux" and shares == "shared":
        found.append((1580, "smbd", 445, 6, "0.0.0.0"))
    if other_port == "open":
        found.append((3044, "node", 3000, 6, "0.0.0.0"))
    if telnet:
        found.append((2023, "tlntsvr.exe" if platform == "windows" else "telnetd", 23, 6, "0.0.0.0"))
    return found
