"""The ten days of ``fleet_days`` lived through: a store whose clock goes from one happening to the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from server.api.keys import Presence
from server.app import opened_database
from server.catalog.assets import Asset
from server.catalog.canary import parse_selector
from server.catalog.people import Person
from server.evaluate.judge import evaluate
from server.normalize.clocks import question_id
from server.normalize.devices import DeviceFacts
from server.store import access, assets, devices, erase, exempting, people, shipping
from server.store.calendar import read_calendar, set_zone
from server.store.devices import Device
from server.store.driver import Transaction
from server.store.exempting import Asked, By, Terms
from server.store.imports import Import
from server.store.in_force import load_in_force
from server.store.migrate import migrate
from server.store.shipping import Request
from server.store.store import Store
from server.wire.log import parse_log
from server.wire.messages import QuestionAnswer
from server.worker import Worker
from tests.support.fleet_days import AHEAD, DAYS, MACHINES, ZONE, Sent, at, catalog, contents, sent
from tests.support.stores import SINCE_1970, rows, url_in

TICKS = ("13:00", "17:00")
"""When the worker looks for news within a day; and once more after it was to be closed."""
CLOSING = "01:05"
Happening = tuple[int, Callable[[], Awaitable[object]]]


class Clock:
    """The time it is."""

    now = float(at(18, "20:00"))

    def __call__(self) -> float:
        return self.now


@dataclass
class Life:
    """The fleet as it lives; ``closed`` has what each day said when it was closed."""

    store: Store
    clock: Clock
    worker: Worker
    secret: str
    keys: dict[str, str] = field(default_factory=dict)
    closed: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    exemptions: dict[str, str] = field(default_factory=dict)

    # -- what happens --------------------------------------------------------------------------------------

    async def enrol(self, name: str) -> None:
        """A device enrols, for the first time or again."""
        facts = DeviceFacts(
            hostname=name,
            hardware_uuid=f"uuid-of-{name}",
            serial=f"S-{name}",
            platform=MACHINES[name].platform,
            os_name="",
            os_version="",
            osquery_version="5.23.0",
        )
        key = await self.store.enroll(self.secret, facts, name)
        assert key
        self.keys[name] = key
        if name in TAGS:
            device = await self.device(name)
            await self._write(lambda tx: devices.tag(tx, device.device_id, {TAGS[name]}, set(), self.clock()))

    async def device(self, name: str) -> Device:
        """A device by its newest key."""
        found = await self.store.device_of(self.keys[name])
        assert found
        return found

    async def deliver(self, body: Sent) -> None:
        """A body arrives."""
        done = await self.store.ingest(await self.device(body.device), parse_log(body.raw()))
        assert not done.rejected, done.rejected

    async def tell_time(self, name: str, ahead: int, up: int) -> None:
        """A device answers what its clock shows, as it is asked by a distributed query."""
        now = int(self.clock())
        row = {"unix_time": str(now + ahead), "total_seconds": str(up)}
        answer = QuestionAnswer(question=question_id(now), status=0, message="", rows=[row])
        await self.store.clocks.answered(await self.device(name), [answer])

    async def apply(self, name: str, selector: str = "") -> None:
        """Packs come into force."""
        request = Request(by="ann", selector=parse_selector(selector) if selector else None)
        await shipping.put_into_force(self.store.driver, contents()[name], catalog(name), request, self.clock())
        await self.worker.look_at_packs()

    async def roster(self, **last_days: str | None) -> None:
        """A file of people is imported: each with an account of the name, and a last day."""
        told = [
            Person(person=name, name=name, email=f"{name}@example.com", accounts=[name], last_day=last)
            for name, last in last_days.items()
        ]
        await self._write(lambda tx: people.import_people(tx, self._file("people", told), told))

    async def register(self, *told: Asset) -> None:
        """A file of assets is imported."""
        columns = frozenset({"serial", "hostname", "platform", "owner", "status", "in_scope_from"})

        async def work(tx: Transaction) -> None:
            calendar = await read_calendar(tx)
            source = self._file("assets", told)
            await assets.import_assets(tx, source, told, columns, lambda day: calendar.day(day).starts_at)

        await self._write(work)

    async def retire(self, name: str) -> None:
        """A device leaves."""
        device = await self.device(name)
        await self._write(lambda tx: erase.retire(tx, device.device_id, self.clock()))

    async def ask_exemption(self, name: str, scope: str, subject: str, first: int, last: int) -> None:
        """Somebody asks that a device may fail ``disk`` for some days of October."""
        asked = Asked(
            control="disk",
            scope=scope,
            subject=subject or (await self.device(name)).device_id,
            first_day=date(2026, 10, first),
            last_day=date(2026, 10, last),
            reason="the vendor is slow",
            requested_by="bob",
        )
        self.exemptions[name] = await self._write(lambda tx: exempting.request(tx, asked, TERMS, self.clock()))

    async def approve(self, name: str) -> None:
        """Somebody else approves."""
        await self._write(lambda tx: exempting.approve(tx, self.exemptions[name], By("ann"), TERMS, self.clock()))

    async def revoke(self, name: str) -> None:
        """It is taken back."""
        await self._write(
            lambda tx: exempting.revoke(tx, self.exemptions[name], By("ann"), "it is mended", self.clock())
        )

    async def judge_again(self, first: int, last: int) -> None:
        """Somebody has days of October judged again by what is in force now: ``muster evaluate``."""
        await evaluate(self.store, date(2026, 10, first), date(2026, 10, last))

    async def judge_all_again(self, first: int = DAYS[0], last: int = DAYS[-1]) -> None:
        """Every day again, whole, by the packs it is held to."""
        await evaluate(self.store, date(2026, 10, first), date(2026, 10, last), as_applied=True)

    def _file(self, kind: str, told: object) -> Import:
        now = self.clock()
        return Import(
            kind=kind, file=f"{kind}.csv", sha256=str(hash(str(told))), by="ann", now=now, today=_day(now).isoformat()
        )

    async def _write(self, work: Any) -> Any:
        done = await self.store.write(work)
        self.store._keyring._good_until = 0.0  # two seconds have passed
        return done

    # -- time ----------------------------------------------------------------------------------------------

    def people_do(self) -> Iterable[Happening]:
        """What happens beside the devices' answers."""
        for name, machine in MACHINES.items():
            yield at(*machine.enrolled), lambda name=name: self.enrol(name)  # type: ignore[misc]
        for clock in ("09:00", "14:00"):
            yield at(21, clock), lambda: self.enrol("twice")
        for day, clock in [(19, "08:00"), *((day, "20:05") for day in (19, 20, 21, 22, 24, 25))]:
            up = at(day, clock) - at(19, "07:00")
            yield at(day, clock), lambda up=up: self.tell_time("skewed", AHEAD, up)  # type: ignore[misc]
        yield at(26, "12:00"), lambda: self.tell_time("skewed", 0, 300)  # it was set as the machine started again
        yield at(20, "12:00"), lambda: self.roster(ada=None, bob=None)
        yield at(26, "13:30"), lambda: self.roster(ada=None, bob="2026-10-22")
        yield at(21, "09:00"), lambda: self.register(*REGISTER)
        yield at(24, "12:00"), lambda: self.retire("leaver")
        yield at(20, "12:00"), lambda: self.ask_exemption("lab", "tag", "lab", 20, 28)
        yield at(20, "12:01"), lambda: self.approve("lab")
        yield at(25, "12:00"), lambda: self.revoke("lab")
        yield at(21, "15:00"), lambda: self.ask_exemption("waived", "device", "", 22, 24)
        yield at(21, "15:01"), lambda: self.approve("waived")
        yield at(22, "12:00"), lambda: self.ask_exemption("mac", "person", "carol@example.com", 22, 25)
        yield at(24, "09:00"), lambda: self.approve("mac")  # from then on, though it was asked for earlier
        yield at(23, "12:00"), lambda: self.apply("corrected")
        yield at(24, "10:30"), lambda: self.judge_again(21, 22)
        yield at(25, "12:00"), lambda: self.apply("listed")
        yield at(26, "12:00"), lambda: self.apply("asked")
        yield at(27, "12:00"), lambda: self.apply("canary", "tag=pilot")

    def judging(self) -> Iterable[Happening]:
        """What the worker does."""
        for day in DAYS:
            for clock in TICKS:
                yield at(day, clock), self.worker.judge_news
            yield at(day + 1, CLOSING), lambda day=day: self._close(day)  # type: ignore[misc]

    async def _close(self, day: int) -> None:
        await self.worker.judge_news()
        name = date(2026, 10, day).isoformat()
        self.closed[name] = await self.posture("WHERE day = ?", name)

    def deliveries(self, bodies: Iterable[Sent]) -> Iterable[Happening]:
        """What the devices send."""
        for body in bodies:
            yield body.at, lambda body=body: self.deliver(body)  # type: ignore[misc]

    async def live(self, happenings: Iterable[Happening]) -> None:
        """Let things happen in the order of their times; of one time in the order they are given in."""
        for when, happen in sorted(happenings, key=lambda one: one[0]):
            self.clock.now = float(when)
            await happen()

    async def ten_days(self) -> None:
        """Everything, as it happened."""
        await self.live([*self.people_do(), *self.deliveries(sent()), *self.judging()])

    # -- what became of it ---------------------------------------------------------------------------------

    async def posture(self, where: str = "", *parameters: str) -> list[tuple[Any, ...]]:
        """Control, host name, day, then the verdict's four columns, ``since_day`` and ``provisional``."""
        columns = "control, hostname, day, status, underlying_status, lapsed, reason, since_day, provisional"
        return await rows(self.store, f"SELECT {columns} FROM posture {where} ORDER BY 1, 2, 3", parameters)


TAGS = {"pilot": "pilot", "lab": "lab", "win": "lab"}
TERMS = Terms(("disk",), 365)
REGISTER = (
    Asset(serial="s-ghost", shown="S-ghost", hostname="ghost", platform="linux", in_scope_from="2026-10-20"),
    Asset(serial="s-wraith", shown="S-wraith", hostname="wraith"),
    Asset(serial="s-mac", shown="S-mac", hostname="mac", platform="darwin", owner="carol@example.com"),
)


def _day(now: float) -> date:
    return next(day for day in (date(2026, 10, one) for one in range(18, 31)) if now < at(day.day + 1, "00:00"))


@asynccontextmanager
async def fleet_at_first(directory: Path) -> AsyncIterator[Life]:
    """The evening before: packs are in force, and nobody has enrolled."""
    clock = Clock()
    async with opened_database(await url_in(directory), create=True) as database:
        await migrate(database.driver, clock())
        await database.driver.write(lambda tx: set_zone(tx, "0001-01-01", ZONE, "ann", clock()))
        await shipping.put_into_force(
            database.driver, contents()["first"], catalog("first"), Request(by="ann"), clock()
        )
        in_force = await load_in_force(database.driver)
        assert in_force
        store = Store(database.driver, in_force, max_age_days=SINCE_1970, clock=clock)
        secret = await store.write(lambda tx: access.add_enroll_secret(tx, "all", clock()))
        yield Life(store, clock, Worker(store, Presence()), secret)
