"""One node key on two machines: a copied disk or virtual machine goes on with the key of the one it was copied from.

Our config has every line say on which machine it was made. A key belongs to the machine that enrolled; if another one
uses it, that one is told that its key is invalid: osquery keeps its lines, enrols and sends them with a key of its own.
Its backlog may then hold lines that the first machine made before it was copied. They are set aside, for the first
machine sends them itself. Lines that name no machine are believed, as those of an osqueryd with its own config.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TypeVar

from server.normalize.machines import Machine, all_from, machine_of
from server.normalize.times import iso, unix
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.rejects import bad_line
from server.store.store import Store
from server.wire.messages import BadLine, LogBody, ResultLine, StatusLine

log = logging.getLogger(__name__)

HOUR = 3600
ENROLMENTS_AN_HOUR = 5
"""Of an agent of a device; with more of them its lines would name another machine after the next one, too."""
SAID_AT_MOST = 10_000
"""Keys on two machines that are remembered, so that each is said once."""

Line = TypeVar("Line", bound=ResultLine | StatusLine)


class Clones:
    """Looks at each body for lines of another machine than the one its key was given to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said: set[tuple[int, Machine]] = set()

    async def accept(self, device: Device, body: LogBody) -> bool:
        """Whether the body may be stored; lines that are another machine's have become bad lines then.

        If not, it is another machine that uses the key: nothing of it may be stored, and it must enrol.
        """
        if all_from(body.results, device.machine) and all_from(body.statuses, device.machine):
            return True
        lines: list[ResultLine | StatusLine] = [*body.results, *body.statuses]
        decorated = [line for line in lines if machine_of(line).known]
        issued = unix(device.key_issued_at) if device.key_issued_at else 0
        newest = max(decorated, key=lambda line: (line.unix_time, not _is_stranger(line, device)), default=None)
        believed_from: float | None = None
        if newest is not None and _is_stranger(newest, device) and newest.unix_time > issued:
            if not await self._enrols_again_and_again(device):
                await self._say(device, newest)
                return False
            believed_from = issued
        body.results[:] = _keep_own(body, body.results, device, believed_from)
        body.statuses[:] = _keep_own(body, body.statuses, device, believed_from)
        return True

    async def _enrols_again_and_again(self, device: Device) -> bool:
        """Whether enrolling does not help: the decorations are older than the machine's change, or its facts waver.

        The key is believed then, for lines that can only have been made under it.
        """
        since = iso(self._store.clock() - HOUR)
        if device.key_issued_at < since:
            return False

        async def count(tx: Transaction) -> int:
            found = await tx.row(
                "SELECT COUNT(*) FROM muster_node_keys WHERE device_no = ? AND kind = ? AND issued_at >= ?",
                (device.device_no, device.agent, since),
            )
            return int(found[0]) if found else 0

        return await self._store.read(count) > ENROLMENTS_AN_HOUR

    async def _say(self, device: Device, line: ResultLine | StatusLine) -> None:
        """Record once where people look, for the key's device, that another machine uses its key."""
        other = machine_of(line)
        if (device.device_no, other) in self._said:
            return
        reason = (
            f"the node key of this machine ({device.machine}) is used by another one ({other}), which calls itself"
            f" {line.host_identifier[:255]!r}: nothing of that was stored, and it was told to enrol"
        )
        log.warning("device %s: %s", device.device_id, reason)
        await self._store.reject(device, [BadLine(reason=reason, sample="")])
        if len(self._said) >= SAID_AT_MOST:
            self._said.clear()
        self._said.add((device.device_no, other))


def _is_stranger(line: ResultLine | StatusLine, device: Device) -> bool:
    return machine_of(line).contradicts(device.machine)


def _keep_own(body: LogBody, lines: Iterable[Line], device: Device, believed_from: float | None) -> list[Line]:
    """The lines that are the device's; the others become bad lines, one for each query and machine."""
    kept: list[Line] = []
    aside: dict[tuple[str, Machine], BadLine] = {}
    for line in lines:
        if not _is_stranger(line, device) or (believed_from is not None and line.unix_time > believed_from):
            kept.append(line)
            continue
        key = (line.name if isinstance(line, ResultLine) else "", machine_of(line))
        if key not in aside:
            reason = f"made on another machine ({key[1]}) than the one that enrolled ({device.machine})"
            aside[key] = bad_line(line, reason)
    body.bad.extend(aside.values())
    return kept
