"""Ten days of a small fleet, as they happened: what devices sent and when, and what people did meanwhile.

The verdicts they lead to are written by hand in ``tests/data/fleet``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from server.catalog.catalog import Catalog
from server.catalog.content import Content
from server.normalize.names import scheduled_name
from tests.support import packs
from tests.support.server import snapshot_line

ZONE = "Europe/Berlin"
DAYS = range(19, 29)
"""Of October 2026; clocks go back on the 25th."""
HOURS = ("10:00", "16:00")
AHEAD = 5 * 3600
"""How far the clock of ``skewed`` is ahead until it is set."""


def at(day: int, clock: str) -> int:
    """A day of October and a time of the fleet's zone, in unix seconds."""
    hour, minute = clock.split(":")
    return int(datetime(2026, 10, day, int(hour), int(minute), tzinfo=ZoneInfo(ZONE)).timestamp())


# -- packs -----------------------------------------------------------------------------------------------------

_CONTROL = """title: {title}
why: It is tested.
severity: high
fresh_within_days: {fresh}
platforms:
{rules}
remediation: {remedies}
limits: Everything else.
"""
_DISKS = "{query: disks, every: encrypted = 1, undecided: encrypted IS NULL, empty: fail, confidence: documented}"
_DEPARTED = (
    "{query: accounts, none: \"in_list('departed_accounts', lower(who))\","
    " applies_when: \"in_list('departed_accounts', '*')\", empty: error, confidence: documented}"
)
_SCHEDULE = "name, interval, executions, denylisted, wall_time_ms, user_time, system_time, average_memory, output_size"


def _control(title: str, fresh: int = 1, **rules: str) -> str:
    listed = "\n".join(f"  {platform}: {rule}" for platform, rule in rules.items())
    remedies = json.dumps(dict.fromkeys(rules, "Mend it."))
    return _CONTROL.format(title=title, fresh=fresh, rules=listed, remedies=remedies)


def _guests(*names: str) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return _control(
        "Nobody is a guest",
        linux=f'{{query: accounts, none: "who IN ({listed})", empty: pass, confidence: documented}}',
    )


def _ports(*ports: int) -> str:
    entries = "".join(f"  - [{port}]\n" for port in ports)
    return f'title: Ports\nas_of: "2026-10-18"\ncolumns: {{port: bigint}}\nkey: [port]\nentries:\n{entries}'


@cache
def contents() -> dict[str, Content]:
    """The packs that come into force one after the other."""
    first: dict[str, str | None] = {
        packs.RESIDENTS: None,
        packs.CONTROL: None,
        "queries/disks.sql": "-- Disks.\nSELECT name, encrypted FROM disk_encryption\n",
        "queries/accounts.sql": "-- Accounts.\nSELECT username AS who FROM users\n",
        "queries/ports.linux.sql": "-- Ports.\nSELECT DISTINCT port FROM listening_ports\n",
        "queries/forwarding.linux.sql": "-- Forwarding.\nSELECT current_value AS forwarding FROM system_controls"
        " WHERE name = 'net.ipv4.ip_forward'\n",
        "queries/osquery_schedule.sql": "-- What runs.\n-- volatile: executions, wall_time_ms, user_time, system_time,"
        f" average_memory, output_size\nSELECT {_SCHEDULE} FROM osquery_schedule\n",
        "controls/a/disk/control.yaml": _control("Disks are encrypted", linux=_DISKS, darwin=_DISKS),
        "controls/a/departed/control.yaml": _control("Nobody has left", linux=_DEPARTED, darwin=_DEPARTED),
        "controls/a/guests/control.yaml": _guests("guest"),
        "controls/a/ports/control.yaml": _control(
            "Ports are known",
            linux="{query: ports, every: \"in_list('ports', port)\", empty: pass, confidence: documented}",
        ),
        "controls/a/forwarding/control.yaml": _control(
            "Packets are not forwarded",
            fresh=3,
            linux="{query: forwarding, any: forwarding = '0', applies_when: forwarding <> 'absent',"
            " empty: not_applicable, confidence: documented}",
        ),
        "lists/ports.yaml": _ports(22, 8080),
        packs.PACK: "title: All\nqueries: {osquery_schedule: }\n"
        "controls: [disk, departed, guests, ports, forwarding]\n",
    }
    corrected = {**first, "controls/a/guests/control.yaml": _guests("guest", "visitor")}
    listed = {**corrected, "lists/ports.yaml": _ports(22)}
    asked = {**listed, "queries/ports.linux.sql": "-- Ports.\nSELECT DISTINCT port, protocol FROM listening_ports\n"}
    canary = {**asked, "controls/a/guests/control.yaml": _guests("guest", "visitor", "temp")}
    gone = ("controls/a/forwarding/control.yaml", "queries/forwarding.linux.sql")
    removed = {**first, **dict.fromkeys(gone), packs.PACK: str(first[packs.PACK]).replace(", forwarding]", "]")}
    named = {
        **{"first": first, "corrected": corrected, "listed": listed, "asked": asked, "canary": canary},
        **{"removed": removed, "graced": {**first, "fleet.yaml": "new_device_grace_days: 2\n"}},
    }
    return {name: packs.content(files) for name, files in named.items()}


@cache
def catalog(name: str) -> Catalog:
    """The catalog of packs."""
    return contents()[name].load()


# -- devices ---------------------------------------------------------------------------------------------------

Rows = list[dict[str, str]]
Said = Mapping[str, Rows]


@dataclass(frozen=True)
class Machine:
    """A device, what it answers unless something is told of a time, and when it does so."""

    platform: str = "linux"
    enrolled: tuple[int, str] = (19, "08:00")
    accounts: tuple[str, ...] = ("root", "ada")
    ports: tuple[str, ...] = ("22",)
    encrypted: str = "1"
    forwarding: str = "0"
    days: Sequence[int] = DAYS
    hours: Sequence[str] = HOURS
    asked_from: tuple[int, str] = (26, "12:00")
    """When it heard of the other query for ports."""


MACHINES = {
    "anchor": Machine(),
    "sleeper": Machine(accounts=("root", "visitor"), days=(19, 20, 25, 26, 27, 28)),
    "slow": Machine(enrolled=(20, "08:00"), days=range(22, 29)),
    "noon": Machine(ports=("22", "8080")),
    "owl": Machine(hours=("23:30",)),
    "leaver": Machine(days=range(19, 24)),
    "joiner": Machine(enrolled=(23, "11:00"), days=range(24, 29)),
    "twice": Machine(),
    "mac": Machine(platform="darwin"),
    "failing": Machine(),
    "skewed": Machine(days=(27, 28)),
    "pilot": Machine(accounts=("root", "temp"), forwarding="absent"),
    "waived": Machine(encrypted="0"),
    "lab": Machine(encrypted="0"),
    "win": Machine(platform="windows", days=()),
    "desk": Machine(accounts=("root", "bob", "visitor"), asked_from=(28, "09:00")),
    "weekender": Machine(days=()),
    "mute": Machine(enrolled=(20, "08:00"), days=()),
}


@dataclass(frozen=True)
class Sent:
    """A body that arrives."""

    at: int
    device: str
    log_type: str
    lines: list[dict[str, Any]] = field(hash=False)

    def raw(self) -> bytes:
        """As osquery sends it."""
        return json.dumps({"node_key": "k", "log_type": self.log_type, "data": self.lines}).encode()


def disk(encrypted: str) -> Rows:
    """A disk, encrypted or not."""
    return [{"name": "sda", "encrypted": encrypted}]


def _usual(machine: Machine, when: int) -> dict[str, Rows]:
    said = {"disks": disk(machine.encrypted), "accounts": [{"who": who} for who in machine.accounts]}
    if machine.platform == "linux":
        other = {"protocol": "6"} if when >= at(*machine.asked_from) else {}
        said["ports"] = [{"port": port, **other} for port in machine.ports]
        said["forwarding"] = [{"forwarding": machine.forwarding}]
    return said


def answered(name: str, when: int, arrives: int) -> Sent:
    """The usual answers of a device at a time, in a body that arrives at another."""
    return Sent(arrives, name, "result", _lines(name, when, _usual(MACHINES[name], when)))


def _lines(name: str, when: int, said: Said) -> list[dict[str, Any]]:
    """The answers of a device at a time; its clock may say another one."""
    machine = MACHINES[name]
    queries = catalog("asked" if when >= at(*machine.asked_from) else "first").queries
    shown = when + AHEAD if name == "skewed" and when < at(26, "12:00") else when
    return [
        snapshot_line(f"pack/all/{scheduled_name(query, queries[query, machine.platform].version)}", shown, rows)
        for query, rows in said.items()
    ]


OTHERWISE: dict[tuple[str, int], dict[str, Rows | None]] = {
    ("mac", 24): {"disks": disk("")},
    ("failing", 26): {"disks": disk("")},
    ("failing", 27): {"disks": [], "accounts": [], "ports": [], "forwarding": []},
}
"""What devices answered on a day in place of the usual."""
NOT_SAID = {("failing", 22, "16:00"): "disks", ("failing", 23, "16:00"): "ports"}
"""Queries that were not answered."""
EXTRA: dict[tuple[str, int, str], Said] = {
    ("noon", 22, "09:00"): {"disks": disk("1")},
    ("noon", 22, "12:00"): {"disks": disk("0")},
    ("noon", 22, "14:00"): {"disks": disk("0")},
    ("noon", 22, "15:00"): {"disks": disk("1")},
    ("mute", 24, "10:00"): {"accounts": [{"who": "root"}]},
}
"""What else devices answered: that alone."""
WHOLE = {
    "leaver": [(24, "10:00")],
    "joiner": [(23, "11:30"), (23, "16:00")],
    "skewed": [*((day, "20:00") for day in (19, 20, 21, 22, 24, 25)), (26, "16:00")],
    "weekender": [(19, "10:00"), (23, "10:00")],
}
"""When else devices answered everything."""
BACKLOGS: dict[tuple[str, int, str], dict[tuple[int, str], Said]] = {
    ("sleeper", 25, "09:30"): {
        (21, "10:00"): {},
        (22, "10:00"): {},
        (22, "16:00"): {"disks": disk("0")},
        (23, "10:00"): {"disks": disk("0")},
        (23, "11:00"): {},
        (24, "10:00"): {},
    },
    ("slow", 22, "09:30"): {(20, "10:00"): {}, (21, "10:00"): {}},
}
"""When devices without a network sent what they had answered when; of what is not named the usual."""


def sent() -> list[Sent]:
    """Every body of the ten days, in the order in which they arrived."""
    return sorted(_sent(), key=lambda one: one.at)


def _sent() -> Iterator[Sent]:
    for name, machine in MACHINES.items():
        times = [(day, clock) for day in machine.days for clock in machine.hours]
        for day, clock in [*times, *WHOLE.get(name, [])]:
            when = at(day, clock)
            said = {**_usual(machine, when), **OTHERWISE.get((name, day), {})}
            if (name, day) == ("owl", 25):
                said["disks"] = disk("0")
            said.pop(NOT_SAID.get((name, day, clock), ""), None)
            yield Sent(when, name, "result", _lines(name, when, said))  # type: ignore[arg-type]
    for (name, day, clock), extra in EXTRA.items():
        yield Sent(at(day, clock), name, "result", _lines(name, at(day, clock), extra))
    for (name, day, clock), backlog in BACKLOGS.items():
        lines = [line for then, said in backlog.items()
                 for line in _lines(name, at(*then), {**_usual(MACHINES[name], at(*then)), **said})]  # fmt: skip
        yield Sent(at(day, clock), name, "result", lines)
    disks = catalog("first").queries["disks", "linux"]
    message = f"Error executing scheduled query pack/all/{scheduled_name('disks', disks.version)}: disk I/O error"
    status = {"unixTime": at(22, "10:30"), "severity": 2, "filename": "scheduler.cpp", "line": 1, "message": message}
    yield Sent(at(22, "10:30"), "failing", "status", [status | {"version": "5.23.0"}])
    for day, denylisted in ((23, "1"), (24, "0")):
        yield Sent(at(day, "10:05"), "failing", "result", [_schedule(at(day, "10:05"), denylisted)])


def _schedule(when: int, denylisted: str) -> dict[str, Any]:
    queries = catalog("first").queries
    row = dict.fromkeys(_SCHEDULE.split(", "), "1")
    row |= {"name": f"pack/all/{scheduled_name('ports', queries['ports', 'linux'].version)}", "denylisted": denylisted}
    own = scheduled_name("osquery_schedule", queries["osquery_schedule", "linux"].version)
    return snapshot_line(f"pack/all/{own}", when, [row])
