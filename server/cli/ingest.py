"""``muster ingest``: a results log of osquery's filesystem logger, for a trial without touching agents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click

from server.app import Database, opened_store
from server.cli.options import (
    applied_packs_option,
    database_option,
    json_option,
    key_file_option,
    max_age_option,
    print_json,
    run,
)
from server.normalize.devices import DeviceFacts
from server.normalize.machines import SERIAL_DECORATION, UUID_DECORATION
from server.normalize.text import clean_text
from server.store import devices
from server.store.devices import Device
from server.store.driver import StoreError, Transaction
from server.store.store import Store
from server.wire.limits import LINE_BYTES
from server.wire.log import parse_file_line
from server.wire.messages import LogBody, ResultLine

BATCH = 1000


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--platform", type=click.Choice(["darwin", "linux", "windows"]), default="linux", show_default=True,
              help="What the devices run; the log does not say.")  # fmt: skip
@database_option
@applied_packs_option
@max_age_option
@key_file_option
@json_option
def ingest(
    file: Path,
    platform: str,
    database: str,
    packs: Path | None,
    max_age_days: int,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Store the lines of an osqueryd.results.log (or osqueryd.snapshots.log).

    A device is told by the hostIdentifier of its lines. The same file again changes nothing.
    """
    opened = opened_store(database, packs, max_age_days=max_age_days, ingests=True, key_file=key_file)
    counts = run(_ingest(file, platform, opened))
    if as_json:
        print_json(counts)
        return
    click.echo(f"{counts['answers']} answers of {counts['devices']} device(s) stored, {counts['rejected']} set aside")
    if counts["unreadable"]:
        click.echo(f"{counts['unreadable']} line(s) are no result lines and were left out", err=True)


async def _ingest(
    file: Path, platform: str, opened: AbstractAsyncContextManager[tuple[Store, Database]]
) -> dict[str, int]:
    counts: dict[str, Any] = {"devices": 0, "answers": 0, "rejected": 0, "unreadable": 0}
    known: dict[str, Device] = {}
    async with opened as (store, _):
        for batch, unread in _batches(file):
            counts["unreadable"] += unread
            for host, lines in _by_host(batch).items():
                if host not in known:
                    known[host] = await _device(store, lines[0], platform)
                done = await store.ingest(known[host], LogBody(node_key="", results=lines))
                counts["answers"] += done.answers
                counts["rejected"] += len(done.rejected)
    counts["devices"] = len(known)
    if not known:
        raise StoreError(f"{file} holds no result lines.")
    return counts


def _batches(file: Path) -> Iterator[tuple[list[ResultLine], int]]:
    """Yield the readable lines of a file, a thousand at a time, with the count of the others."""
    lines: list[ResultLine] = []
    bad = 0
    with file.open("rb") as stream:
        while raw := stream.readline(LINE_BYTES):
            if not raw.strip():
                continue
            body = parse_file_line(raw)
            bad += len(body.bad)
            lines += body.results
            if len(lines) >= BATCH:
                yield lines, bad
                lines, bad = [], 0
    yield lines, bad


def _by_host(lines: list[ResultLine]) -> dict[str, list[ResultLine]]:
    hosts: dict[str, list[ResultLine]] = {}
    for line in lines:
        hosts.setdefault(line.host_identifier, []).append(line)
    return hosts


async def _device(store: Store, line: ResultLine, platform: str) -> Device:
    uuid = line.decorations.get(UUID_DECORATION)
    serial = line.decorations.get(SERIAL_DECORATION)
    facts = DeviceFacts(
        hostname=clean_text(line.host_identifier)[:255],
        # A log without our decorations names its host only, so the name has to stand for the machine.
        hardware_uuid=uuid if isinstance(uuid, str) else f"host:{clean_text(line.host_identifier)[:255]}",
        serial=serial if isinstance(serial, str) else "",
        platform=platform,
        os_name="",
        os_version="",
        osquery_version="",
    )

    async def work(tx: Transaction) -> Device:
        # What an enrolment said of the machine is better than what this log leaves out.
        known = await tx.row("SELECT device_no FROM muster_devices WHERE identity = ?", (facts.identity,))
        device_no = known[0] if known else await devices.find_or_add(tx, facts, store.clock())
        found = await tx.row("SELECT device_id, platform FROM muster_devices WHERE device_no = ?", (device_no,))
        assert found is not None
        return Device(device_no, *found)

    return await store.write(work)
