"""Ways in which a history's lines can reach the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from random import Random

from server.store.devices import Device
from server.store.store import Store
from server.wire.log import parse_log
from tests.support.histories import HOSTS, Atom, Fleet
from tests.support.stores import add_device

Body = list[Atom]
"""Of one device and one log type; no atom twice."""


async def devices_of(store: Store, fleet: Fleet) -> list[Device]:
    """The fleet's devices, under ids that are the same in every database."""
    devices = []
    for number in range(fleet.devices):
        device = await add_device(store, HOSTS[number], "linux")
        values = (f"id-of-{number}", device.device_no)
        await store.write(
            lambda tx, values=values: tx.run("UPDATE muster_devices SET device_id = ? WHERE device_no = ?", values)  # type: ignore[misc]
        )
        devices.append(device)
    return devices


def in_order(fleet: Fleet) -> list[list[Body]]:
    """Everything once, as it happened, some hours in a body."""
    bodies: dict[tuple[int, int, str], Body] = {}
    for atom in sorted(fleet.atoms, key=lambda atom: atom.at):
        bodies.setdefault((atom.at // 20_000, atom.device, atom.log_type), []).append(atom)
    return [[body] for body in bodies.values()]


def anyhow(fleet: Fleet, random: Random) -> list[list[Body]]:
    """In any order and split, with replays, several bodies at a time.

    Some atoms come again in a body of their own or among others; some bodies come again with more in them, as osquery
    does when it has not heard the answer.
    """
    atoms = [*fleet.atoms, *random.sample(fleet.atoms, len(fleet.atoms) // 3)]
    random.shuffle(atoms)
    if random.random() < 0.3:
        atoms.sort(key=lambda atom: -atom.at)
    bodies = list(_split(atoms, random))
    for position in range(len(bodies) - 1, -1, -1):
        if random.random() < 0.2:
            first = bodies[position]
            more = [atom for atom in atoms if (atom.device, atom.log_type) == (first[0].device, first[0].log_type)]
            again = [*first, *random.sample(more, min(3, len(more)))]
            again = list({id(atom): atom for atom in again}.values())
            random.shuffle(again)
            bodies.insert(random.randint(position, len(bodies)), again)
    groups: list[list[Body]] = []
    while bodies:
        size = random.choice([1, 3, 8])
        groups.append(bodies[:size])
        bodies = bodies[size:]
    return groups


def _split(atoms: list[Atom], random: Random) -> Iterator[Body]:
    queues: dict[tuple[int, str], Body] = {}
    for atom in atoms:
        queues.setdefault((atom.device, atom.log_type), []).append(atom)
    while queues:
        key = random.choice(sorted(queues))
        size = random.choice([1, 2, 5, 20])
        body, queues[key] = queues[key][:size], queues[key][size:]
        if not queues[key]:
            del queues[key]
        yield list({id(atom): atom for atom in body}.values())


async def deliver(store: Store, devices: list[Device], groups: list[list[Body]]) -> None:
    """Send bodies through the parser to the store, the groups one after the other."""
    for group in groups:
        await asyncio.gather(*(_send(store, devices, body) for body in group))


async def _send(store: Store, devices: list[Device], atoms: Body) -> None:
    lines = [line for atom in atoms for line in atom.lines]
    body = {"node_key": "k", "log_type": atoms[0].log_type, "data": lines}
    await store.ingest(devices[atoms[0].device], parse_log(json.dumps(body).encode()))
