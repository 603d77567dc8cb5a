"""``muster demo``: a whole fleet on this machine, with a month behind it."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from server.app import opened_store, shipped_packs
from server.catalog.catalog import load_catalog
from server.cli.database import make_database
from server.cli.options import FAILED, applied_packs_option, fail, run
from server.cli.simulate import ProgressBars, write_truth
from server.cli.transactions import write_to
from server.evaluate.judge import evaluate
from server.normalize.times import unix
from server.simulate.child import ServerFailedError, serving
from server.simulate.company import Company, company_of
from server.simulate.device import make_device
from server.simulate.fleet import Fleet, sorted_truth
from server.simulate.fleet import Progress as Told
from server.simulate.options import FleetOptions
from server.simulate.presence import DAY, date_of
from server.simulate.remember import Memory, keep, recall
from server.simulate.truth import EXEMPTIONS, Exempted, worth_exempting
from server.store import access
from server.store.assets import import_assets
from server.store.driver import StoreError, Transaction
from server.store.exempting import Asked, By, Terms, grant
from server.store.imports import Import
from server.store.lease import LEADER, Lease, holding
from server.store.people import import_people

TOKEN_NAME = "demo"
SPEED = 60.0
"""Hourly queries run every minute while the fleet lives."""
EXEMPT_DAYS_AHEAD, DAYS_MAX = 60, 3660


@click.command()
@click.option("--devices", default=200, show_default=True, type=click.IntRange(1, 5000), help="How many.")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 365), help="Days of history.")
@click.option("--directory", default="./muster-demo", show_default=True, help="Where the demo is kept.",
              type=click.Path(file_okay=False, path_type=Path))  # fmt: skip
@click.option("--listen", "address", default="127.0.0.1:8765", show_default=True, metavar="HOST:PORT")
@click.option("--seed", default=1, show_default=True, help="The same seed is the same fleet.")
@click.option("--once", is_flag=True, help="End when the history is judged.")
@click.option("--truth", metavar="FILE", help="Write the verdicts the simulator expects, one JSON object a line.")
@applied_packs_option
def demo(
    devices: int, days: int, directory: Path, address: str, seed: int, once: bool, truth: str | None, packs: Path
) -> None:
    """Run a whole fleet on this machine: simulated devices, their history, and the console to look at.

    Started again, it goes on where it was. Delete the folder to begin anew. Ctrl-C ends it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    run(_Demo(directory, address, packs, once=once, truth=truth).go(devices, days, seed))


class _Demo:
    """One run of the demo."""

    def __init__(self, directory: Path, address: str, packs: Path | None, *, once: bool, truth: str | None) -> None:
        self._directory = directory
        self._url = f"sqlite:///{(directory / 'muster.db').resolve()}"
        self._address = address
        self._packs = packs
        self._once = once
        self._truth = truth
        self._stop = asyncio.Event()

    async def go(self, devices: int, days: int, seed: int) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        memory = await self._prepare(devices, days, seed)
        try:
            # The server leads from when the history is judged: days that it closed before would all be revised.
            async with AsyncExitStack() as alone:
                await alone.enter_async_context(holding(Lease(LEADER, partial(write_to, self._url))))
                async with serving(*self._server_options(memory)) as url:
                    await self._fleet(memory, url, alone.aclose)
        except ServerFailedError as error:
            fail(str(error), FAILED)

    async def _prepare(self, devices: int, days: int, seed: int) -> Memory:
        """The database, made if there is none, and the fleet to go on with, or a new one in a new database."""
        made = await make_database(self._url, self._packs, "UTC")
        memory = recall(self._directory)
        if made is None and memory is not None:
            if (devices, days, seed) != (memory.devices, memory.days, memory.seed):
                click.echo(f"The demo in {self._directory} goes on with its {memory.devices} devices.", err=True)
            return memory
        secret = made["enroll_secret"] if made else await write_to(self._url, _new_secret)
        first = int(time.time()) // DAY - days
        memory = Memory(devices=devices, days=days, seed=seed, first_day=first, secret=secret)
        keep(self._directory, memory)
        return memory

    def _server_options(self, memory: Memory) -> tuple[str, ...]:
        oldest = int(time.time()) // DAY - memory.first_day + 2
        return (
            *("--database", self._url, *(("--packs", str(self._packs)) if self._packs else ())),
            *("--listen", self._address, "--max-age-days", str(max(90, oldest))),
        )

    async def _fleet(self, memory: Memory, url: str, judged: Callable[[], Awaitable[None]]) -> None:
        devices = (make_device(memory.seed, index) for index in range(memory.devices))
        options = FleetOptions(
            url=url, company=company_of(devices, memory.span), secret=memory.secret, span=memory.span,
            seed=memory.seed, count=memory.devices, history=True,
            delivered_until=memory.delivered_until, horizon=time.time(), speed=SPEED, node_keys=memory.node_keys,
        )  # fmt: skip
        await write_to(self._url, lambda tx: _import(tx, options.company))
        fleet = Fleet(options, load_catalog(self._packs or shipped_packs()), self._stop)
        try:
            await self._history(fleet, memory)
            await judged()
            if self._stop.is_set():
                click.echo("Stopped before the history was whole: the same command goes on with it.", err=True)
                return
            # Only now: a command that could not start takes no token away from one that runs.
            token = await write_to(self._url, _fresh_token)
            lives = f"The console is at {url}. The fleet lives on until Ctrl-C."
            ended = "The history is judged. The same command without --once goes on, with a console."
            click.echo(f"{ended if self._once else lives}\nAdmin token: {token}")
            if not self._once:
                await fleet.live(None)
                self._keep(memory, fleet, time.time())
        finally:
            await fleet.close()

    async def _history(self, fleet: Fleet, memory: Memory) -> None:
        """Deliver what is missing of the past, and have it judged."""
        now, before = fleet.options.horizon, memory.delivered_until
        with ProgressBars() as told:
            fleet.progress = told
            await fleet.join()
            self._keep(memory, fleet, before)
            await fleet.deliver_history()
            if self._stop.is_set():
                return
            self._keep(memory, fleet, now)
            exempted = await self._exempt(fleet, memory)
            await self._judge(max(int(before) // DAY, memory.first_day), int(now) // DAY, told)
        if self._truth:
            write_truth(self._truth, sorted_truth(fleet.truth(int(now) // DAY, exempted)))

    def _keep(self, memory: Memory, fleet: Fleet, delivered_until: float) -> None:
        memory.node_keys = fleet.node_keys()
        memory.delivered_until = delivered_until
        keep(self._directory, memory)

    async def _judge(self, first: int, last: int, told: Told) -> None:
        """Judge every day there is data for, today as it stands."""
        async with opened_store(self._url, self._packs) as (store, _):
            for done, day in enumerate(range(first, last + 1), 1):
                if self._stop.is_set():
                    return
                await evaluate(store, date_of(day), date_of(day))
                told("Days are judged", done, last - first + 1)

    async def _exempt(self, fleet: Fleet, memory: Memory) -> tuple[Exempted, ...]:
        """Exempt one device that fails from each control of ``EXEMPTIONS``; those of an earlier run stay."""
        span = memory.span
        until = date_of(span.first + span.days) + timedelta(days=EXEMPT_DAYS_AHEAD)
        truth = sorted_truth(fleet.truth(span.first + span.days - 1, controls=tuple(EXEMPTIONS)))
        chosen = worth_exempting(truth, tuple(EXEMPTIONS), date_of(span.first + span.days // 3), until)
        for entry in chosen:
            await write_to(self._url, partial(_grant, entry=entry))
        return chosen


async def _import(tx: Transaction, company: Company) -> None:
    """Bring the roster and the asset register of the demo's company into the database, as the commands do.

    The devices enrol after that, and have their tags from the beginning. Imported again it changes nothing.
    """
    now = time.time()
    columns = frozenset({"serial", "hostname", "platform", "model", "owner", "status", "tags"})

    def source(kind: str, entries: list[Any]) -> Import:
        digest = hashlib.sha256(repr(entries).encode()).hexdigest()
        today = date_of(int(now) // DAY).isoformat()
        return Import(kind=kind, file=f"{kind}.csv", sha256=digest, by=TOKEN_NAME, now=now, today=today)

    people, assets = list(company.people()), list(company.assets())
    await import_people(tx, source("people", people), people)
    await import_assets(tx, source("assets", assets), assets, columns, lambda day: f"{day.isoformat()}T00:00:00Z")


async def _grant(tx: Transaction, entry: Exempted) -> None:
    """Write an exemption as ``muster exempt grant`` does, but from a day in the past on.

    The command lets an exemption begin today at the earliest, and rightly so: nobody may excuse what is over. In the
    demo it plays the part of one that was granted at the time, so that its history shows how one looks.
    """
    device = await tx.row("SELECT device_no, device_id FROM muster_devices WHERE hostname = ?", (entry.hostname,))
    if device is None:
        raise StoreError(f"The demo's device {entry.hostname} is not in the database: delete the folder, begin anew.")
    known = await tx.row(
        "SELECT 1 FROM muster_exemptions WHERE device_no = ? AND control = ?", (device[0], entry.control)
    )
    if known is None:
        then = unix(f"{entry.first_day.isoformat()}T12:00:00Z")
        asked = Asked(
            control=entry.control,
            scope="device",
            subject=device[1],
            last_day=entry.last_day,
            reason=EXEMPTIONS[entry.control],
            requested_by="petra.novak",
        )
        await grant(tx, asked, By("kofi.okoro"), Terms((entry.control,), DAYS_MAX), then)


async def _new_secret(tx: Transaction) -> str:
    return await access.add_enroll_secret(tx, TOKEN_NAME, time.time())


async def _fresh_token(tx: Transaction) -> str:
    """A new admin token named demo; it is the only one of that name that works."""
    for known in await access.list_credentials(tx, "token"):
        if known["name"] == TOKEN_NAME and known["revoked_at"] is None:
            await access.revoke(tx, "token", str(known["id"]), time.time())
    return await access.add_token(tx, TOKEN_NAME, "admin", time.time())
