"""A day being judged: the dockets of the controls, and what many devices at a time come to. Nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from server.catalog.schema import PLATFORMS
from server.catalog.targets import TargetedDevice
from server.evaluate import codes, statements
from server.evaluate.benches import Bench, BenchMaker, reads
from server.evaluate.codes import Places, byte_of
from server.evaluate.courts import Court
from server.evaluate.dockets import Docket, Found, ask, lapses
from server.evaluate.grace import grace_from
from server.evaluate.population import Devices, named
from server.evaluate.verdicts import FAIL, NO_DATA, NO_ROWS, NOT_APPLICABLE, SILENCES
from server.normalize.calendar import Calendar, Day
from server.store.applications import tags_of
from server.store.driver import Transaction
from server.store.tables import QueryTable


@dataclass
class _Heard:
    """The devices of a platform on a day: by number, whether in scope, ever enrolled, and silent on which query."""

    numbers: list[int]
    scope: list[int]
    never: list[int]
    silences: list[Sequence[int]]
    fleet: dict[int, TargetedDevice]


class Sitting:
    """Judges some controls on a day, devices by devices. Make it with a transaction's tables."""

    def __init__(
        self,
        day: Day,
        calendar: Calendar,
        courts: Sequence[Court],
        control_nos: Mapping[str, int],
        tables: Mapping[str, QueryTable],
    ) -> None:
        self.day = day
        self.control_nos = control_nos
        self.places = Places(control_nos.values())
        self._calendar = calendar
        self._courts = courts
        maker = BenchMaker(day, calendar, tables)
        self._benches = {
            (position, platform): maker.bench(court, platform, control_nos)
            for position, court in enumerate(courts)
            for platform in (*PLATFORMS, "")
        }

    def reads(self) -> dict[str, frozenset[tuple[str, str]]]:
        """By control, what news its verdicts rest on."""
        return reads(self._courts, self._benches.values(), self.control_nos)

    # -- judging -------------------------------------------------------------------------------------------------

    async def judge(self, tx: Transaction, devices: Devices, exempted: Mapping[int, Set[int]]) -> dict[int, int]:
        """The bytes of every device that is judged on the day; ``exempted`` are devices by number of the control."""
        judged: dict[int, int] = {}
        for position, court in enumerate(self._courts):
            if court.only is None:
                parts = [devices]
            else:
                parts = list(named([number for number in court.only if number in devices]))
            for part in parts:
                for platform in (*PLATFORMS, ""):
                    judged.update(await self._judge(tx, position, platform, part))
        for control_no, numbers in exempted.items():
            shift = self.places.shift(control_no)
            for number in numbers & judged.keys():
                byte = judged[number] >> shift & 255
                judged[number] += codes.exempt(byte) - byte << shift
        return judged

    async def _judge(self, tx: Transaction, position: int, platform: str, devices: Devices) -> dict[int, int]:
        court, bench = self._courts[position], self._benches[position, platform]
        heard = await self._hear(tx, court, bench, platform, devices)
        if not heard.numbers:
            return {}
        plain, never = self._base(bench, platform)
        outside = [
            0,
            self._all(byte_of(NOT_APPLICABLE, "not_in_scope")),
            self._all(byte_of(NOT_APPLICABLE, "new_device")),
        ]
        judged = {
            number: outside[scope] if scope else never if unknown else plain
            for number, scope, unknown in zip(heard.numbers, heard.scope, heard.never, strict=True)
        }
        if not bench.dockets:
            return judged
        inside = {number: place for place, number in enumerate(heard.numbers) if not heard.scope[place]}
        for docket in bench.dockets:
            silences = [heard.silences[bench.hearings.index(hearing)] for hearing in docket.hearings]
            silent = self._silent(silences, inside)
            for one, found in await ask(tx, docket, devices, list(inside)):
                self._add(one, found, silent, inside, judged)
                await self._mark_lapses(tx, one, found, inside, judged)
        if court.has_targets:
            self._untarget(court, bench, platform, heard.fleet, inside.keys(), judged)
        return judged

    async def _hear(self, tx: Transaction, court: Court, bench: Bench, platform: str, devices: Devices) -> _Heard:
        day, hearings = self.day, bench.hearings
        new_from = grace_from(self._calendar, day, court.catalog.fleet.new_device_grace_days)
        parameters: list[object] = [day.ends_at, new_from]
        for hearing in hearings:
            parameters += [hearing.fresh_from, day.ends_at, hearing.version, hearing.table, day.ends_at]
        parameters += [platform, day.starts_at, day.starts_at, day.ends_at, *devices.parameters]
        sql = statements.population(devices, len(hearings), targets=court.has_targets)
        rows = await tx.rows(sql, parameters)
        columns: Sequence[Sequence[int]] = list(zip(*rows, strict=True)) if rows else [()] * (3 + len(hearings))
        fleet = {}
        if court.has_targets:
            for row in rows:
                device_id, version, tags = row[-3:]
                fleet[row[0]] = TargetedDevice(device_id, platform, version, tags_of(tags))
        return _Heard(list(columns[0]), list(columns[1]), list(columns[2]), list(columns[3 : 3 + len(hearings)]), fleet)

    def _all(self, byte: int) -> int:
        return sum(byte << self.places.shift(number) for number in self.control_nos.values())

    def _base(self, bench: Bench, platform: str) -> tuple[int, int]:
        """The bytes of controls that are in no docket, for a device and for one that never enrolled.

        The register may not tell the platform of the latter: then any control might be for it.
        """
        shift = {control: self.places.shift(number) for control, number in self.control_nos.items()}
        unasked = sum(byte_of(NOT_APPLICABLE, "not_targeted") << shift[control] for control in bench.unasked)
        plain = sum(byte_of(NOT_APPLICABLE, "platform") << shift[control] for control in bench.elsewhere)
        if platform:
            return unasked + plain, unasked + plain
        never = sum(byte_of(NO_DATA, "never_answered") << shift[control] for control in bench.elsewhere)
        return unasked + plain, unasked + never

    def _silent(self, silences: Sequence[Sequence[int]], inside: Mapping[int, int]) -> dict[int, int]:
        """The devices in scope whose rows are not judged, with which of ``SILENCES`` it is: of several the first."""
        silent: dict[int, int] = {}
        for column in silences:
            if any(column):
                for number, place in inside.items():
                    if column[place]:
                        silent[number] = min(silent.get(number, column[place]), column[place])
        return silent

    def _bytes(self, docket: Docket, outcomes: Sequence[tuple[str, str | None]]) -> int:
        """What the controls of a docket come to, each at its place."""
        return sum(
            byte_of(*outcome) << self.places.shift(self.control_nos[control])
            for control, outcome in zip(docket.controls, outcomes, strict=True)
        )

    def _add(
        self, docket: Docket, found: Found, silent: Mapping[int, int], inside: Mapping[int, int], judged: dict[int, int]
    ) -> None:
        """Add what a docket's controls come to for the devices in scope."""
        known: dict[int, int] = {}
        key_of = found.keys.get
        for number in inside:
            key = key_of(number, NO_ROWS)
            bits = known.get(key)
            if bits is None:
                bits = known[key] = self._bytes(docket, docket.outcomes(key))
            judged[number] += bits
        for number, silence in silent.items():
            said = SILENCES[silence]
            assert said is not None
            instead = self._bytes(docket, [said] * len(docket.controls))
            judged[number] += instead - known[key_of(number, NO_ROWS)]

    async def _mark_lapses(
        self, tx: Transaction, docket: Docket, found: Found, inside: Mapping[int, int], judged: dict[int, int]
    ) -> None:
        """Mark the controls that a device passes though it failed at some answer within the day."""
        shifts = [self.places.shift(self.control_nos[control]) for control in docket.controls]
        passing = [
            number
            for number in found.changed
            if number in inside and any(judged[number] >> shift & 255 == codes.IS_PASS for shift in shifts)
        ]
        for devices in named(passing):
            for number, key in await lapses(tx, docket, devices):
                for shift, (status, _) in zip(shifts, docket.outcomes(key), strict=True):
                    if status == FAIL and judged[number] >> shift & 255 == codes.IS_PASS:
                        judged[number] += codes.lapsed(codes.IS_PASS) - codes.IS_PASS << shift

    def _untarget(
        self,
        court: Court,
        bench: Bench,
        platform: str,
        fleet: Mapping[int, TargetedDevice],
        inside: Set[int],
        judged: dict[int, int],
    ) -> None:
        """Take out what no pack brings to a device."""
        instead = byte_of(NOT_APPLICABLE, "not_targeted")
        for docket in bench.dockets:
            for control in docket.controls:
                reach = court.reach(control, platform, fleet)
                if reach is not None:
                    shift = self.places.shift(self.control_nos[control])
                    for number in inside - reach:
                        judged[number] += instead - (judged[number] >> shift & 255) << shift

    # -- what is known -------------------------------------------------------------------------------------------

    async def known(self, tx: Transaction, devices: Devices, gapped: Set[int], latest: str) -> dict[int, int]:
        """The bytes of what is stored of the day, by device.

        ``latest`` is the newest day of any control. ``gapped`` are the numbers of controls whose last judged day is
        before the day's eve: of these every run that goes on has to be looked at.
        """
        byte, day = codes.STORED, self.day.day
        if gapped:
            numbers = ", ".join(map(str, sorted(gapped)))
            byte = f"CASE WHEN v.control_no IN ({numbers}) AND v.first_day < '{day}' THEN 255 ELSE {byte} END"
        columns = ", ".join(self.places.columns(byte))
        places = self.places
        span = (places.first, places.first + places.size - 1)
        head = f"SELECT v.device_no, {columns} FROM muster_verdicts v WHERE {devices.of('v')}"
        within = "v.control_no BETWEEN ? AND ?"
        found: dict[int, int] = {}
        rows = await tx.rows(
            f"{head} AND v.last_day IS NULL AND {within} AND v.first_day <= ? GROUP BY v.device_no",
            (*devices.parameters, *span, day),
        )
        for number, *parts in rows:
            found[number] = places.whole(parts)
        if day <= latest:
            rows = await tx.rows(
                f"{head} AND v.last_day IS NOT NULL AND v.last_day >= ? AND {within} AND v.first_day <= ?"
                " GROUP BY v.device_no",
                (*devices.parameters, day, *span, day),
            )
            for number, *parts in rows:
                found[number] = found.get(number, 0) | places.whole(parts)
        return found
