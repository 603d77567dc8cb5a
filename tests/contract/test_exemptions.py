"""Exemptions: who may ask and approve, whom they cover on which days, and that what is over stays as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.catalog.assets import Asset
from server.store import assets, erase, exempting, people
from server.store.devices import Device, set_tags
from server.store.driver import Transaction
from server.store.exempt_lists import Filter, list_exemptions, show_exemption
from server.store.exempting import Asked, By, ExemptionError, Terms
from server.store.exemptions import exempted
from server.store.store import Store
from tests.contract.test_judge import CATALOG, CONTROL, DAY, MIDNIGHT, ROOT, TOOR, Fleet
from tests.contract.test_roster import ADA, BOB, roster, source
from tests.support.stores import add_device, open_store, rows

FIRST = date(2026, 9, 1)
TERMS = Terms((CONTROL,), 365)
LATER = date(2026, 12, 1)
ASKED = Asked(
    control=CONTROL, scope="device", subject="", last_day=date(2026, 9, 20), reason="the vendor is slow",
    requested_by="Ann",
)  # fmt: skip


def at(day: int, hour: float = 12) -> float:
    return float(MIDNIGHT + day * DAY + hour * 3600)


def text(day: int) -> str:
    return (FIRST + timedelta(days=day)).isoformat()


class Office:
    """A fleet, the hour it is, and short words for what people do about exemptions."""

    def __init__(self, store: Store, clock: list[float]) -> None:
        self.store, self._clock = store, clock
        self.fleet = Fleet(store)

    def now(self, day: int, hour: float = 12) -> None:
        self._clock[0] = at(day, hour)

    async def grant(self, asked: Asked, by: str = "Bob") -> str:
        now = self._clock[0]
        return await self.store.write(lambda tx: exempting.grant(tx, asked, By(by), TERMS, now))

    async def request(self, asked: Asked, token: str | None = None) -> str:
        now = self._clock[0]
        return await self.store.write(lambda tx: exempting.request(tx, asked, TERMS, now, token))

    async def approve(self, exemption_id: str, by: By) -> None:
        now = self._clock[0]
        await self.store.write(lambda tx: exempting.approve(tx, exemption_id, by, TERMS, now))

    async def reject(self, exemption_id: str, by: str = "Bob") -> None:
        now = self._clock[0]
        await self.store.write(lambda tx: exempting.reject(tx, exemption_id, By(by), "no", now))

    async def revoke(self, exemption_id: str) -> None:
        now = self._clock[0]
        await self.store.write(lambda tx: exempting.revoke(tx, exemption_id, By("Carl"), "mended", now))

    async def tags(self, device: Device, *tags: str) -> None:
        now = self._clock[0]
        await self.store.write(lambda tx: set_tags(tx, device.device_no, tags, now))

    async def covered(self, day: int) -> set[int]:
        return await self.store.read(lambda tx: exempted(tx, CONTROL, text(day)))

    async def listed(self, today: int, **wanted: Any) -> list[dict[str, Any]]:
        return await self.store.read(lambda tx: list_exemptions(tx, Filter(**wanted), text(today)))

    async def news(self) -> list[tuple[Any, ...]]:
        return await rows(
            self.store,
            "SELECT subject, device_no, first_day, last_day FROM muster_news WHERE kind = 'control' ORDER BY 2",
        )

    async def forget_news(self) -> None:
        await self.store.write(lambda tx: tx.run("DELETE FROM muster_news"))


@asynccontextmanager
async def office(directory: Path) -> AsyncIterator[Office]:
    clock = [at(14)]
    async with open_store(directory, CATALOG, clock=lambda: clock[0]) as store:
        yield Office(store, clock)


def of(device: Device, **said: Any) -> Asked:
    return replace(ASKED, subject=device.device_id, **said)


def of_tag(tag: str, **said: Any) -> Asked:
    return replace(ASKED, scope="tag", subject=tag, **said)


async def own(store: Store, device: Device, owner: str) -> None:
    await store.write(
        lambda tx: tx.run("UPDATE muster_devices SET owner = ? WHERE device_no = ?", (owner, device.device_no))
    )


# -- covering -----------------------------------------------------------------------------------------------------


async def test_what_is_granted_covers_from_today_on_and_days_before_stay_failed(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        for day in range(6):
            await o.fleet.users(laptop, day, 9, ROOT, TOOR)
        o.now(3)
        await o.fleet.judge(0, 1, 2, 3)
        await o.forget_news()
        await o.grant(of(laptop, last_day=FIRST + timedelta(days=4)))
        assert await o.news() == [(CONTROL, laptop.device_no, text(3), text(4))]
        o.now(14)
        await o.fleet.judge(0, 1, 2, 3, 4, 5)
        assert await o.fleet.verdicts(laptop, "status, underlying_status") == [
            *[("fail", "fail")] * 3,
            *[("exempt", "fail")] * 2,
            ("fail", "fail"),
        ]


async def test_a_request_covers_nothing_until_somebody_else_approves_it(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        o.now(1)
        exemption_id = await o.request(of(laptop, risk="malware", compensating_control="EDR", link="https://t/1"))
        assert await o.covered(1) == set()
        o.now(3)
        await o.approve(exemption_id, By("Bob"))
        assert [await o.covered(day) for day in (2, 3, 19, 20)] == [
            set(),
            {laptop.device_no},
            {laptop.device_no},
            set(),
        ]
        (entry,) = await o.listed(3)
        expected = {
            "first_day": text(3), "last_day": "2026-09-20", "asked_from": None, "requested_by": "Ann",
            "approved_by": "Bob", "state": "approved", "phase": "active", "risk": "malware", "link": "https://t/1",
            "compensating_control": "EDR", "device_id": laptop.device_id, "hostname": "laptop", "devices": 1,
        }  # fmt: skip
        assert {name: entry[name] for name in expected} == expected
        with pytest.raises(ExemptionError, match="has been decided: it is approved"):
            await o.approve(exemption_id, By("Carl"))


async def test_a_later_start_is_kept_and_an_earlier_one_moves_to_the_approval(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        one, two = await add_device(o.store, "one"), await add_device(o.store, "two")
        o.now(1)
        later = await o.request(of(one, first_day=FIRST + timedelta(days=9)))
        sooner = await o.request(of(two, first_day=FIRST + timedelta(days=2)))
        o.now(5)
        for exemption_id in (later, sooner):
            await o.approve(exemption_id, By("Bob"))
        assert [await o.covered(day) for day in (4, 5, 8, 9)] == [
            set(), {two.device_no}, {two.device_no}, {one.device_no, two.device_no},
        ]  # fmt: skip
        phases = {entry["exemption_id"]: entry["phase"] for entry in await o.listed(5)}
        assert phases == {later: "upcoming", sooner: "active"}


@pytest.mark.parametrize(
    "name", ["ann", " ANN ", "A n n", "\uff21nn", "A\u200bnn", "a-7", "ann@example.com"],
    ids=["case", "edges", "spaces", "fullwidth", "invisible", "roster-id", "roster-mail"],
)  # fmt: skip
async def test_nobody_approves_what_they_asked_for_themselves(tmp_path: Path, name: str) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        await roster(o.store, replace(ADA, person="A-7", name="Ann", email="Ann@example.com"), BOB)
        exemption_id = await o.request(of(laptop))
        with pytest.raises(ExemptionError, match="somebody other than the requester"):
            await o.approve(exemption_id, By(name))
        assert await o.covered(14) == set()
        await o.approve(exemption_id, By("bob@example.com"))
        assert await o.covered(14) == {laptop.device_no}


async def test_one_token_cannot_ask_in_somebodys_name_and_approve(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        exemption_id = await o.request(of(laptop), token="tickets")
        for by, said in (
            (By("tickets", "tickets"), "another one has to approve it"),
            (By("Tickets"), "somebody other"),
        ):
            with pytest.raises(ExemptionError, match=said):  # nor with a command, under the token's name
                await o.approve(exemption_id, by)
        await o.approve(exemption_id, By("boss", "boss"))
        (entry,) = await o.listed(14)
        assert (entry["request_token"], entry["decision_token"]) == ("tickets", "boss")


async def test_revoking_ends_it_from_that_day_on(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        for day in range(6):
            await o.fleet.users(laptop, day, 9, ROOT, TOOR)
        o.now(1)
        exemption_id = await o.grant(of(laptop))
        o.now(4)
        await o.forget_news()
        await o.revoke(exemption_id)
        assert await o.news() == [(CONTROL, laptop.device_no, text(4), "2026-09-20")]
        o.now(14)
        await o.fleet.judge(*range(6))
        assert [row[0] for row in await o.fleet.verdicts(laptop, "status")] == ["fail", *["exempt"] * 3, *["fail"] * 2]
        (entry,) = await o.listed(14)
        assert (entry["state"], entry["revoked_by"], entry["revoked_day"], entry["revocation_reason"]) == (
            "revoked", "Carl", text(4), "mended",
        )  # fmt: skip
        assert (len(await o.listed(14, active_on=text(3))), await o.listed(14, active_on=text(4))) == (1, [])
        with pytest.raises(ExemptionError, match="is revoked: only an approved"):
            await o.revoke(exemption_id)
        await o.grant(of(laptop))


async def test_a_rejected_request_stays_on_record(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        exemption_id = await o.request(of(laptop))
        await o.reject(exemption_id, "Ann")
        (entry,) = await o.listed(14)
        assert (entry["phase"], entry["rejected_by"], entry["rejection_reason"]) == ("rejected", "Ann", "no")
        with pytest.raises(ExemptionError, match="has been decided: it is rejected"):
            await o.approve(exemption_id, By("Bob"))
        with pytest.raises(ExemptionError, match="only an approved exemption"):
            await o.revoke(exemption_id)
        await o.request(of(laptop))


# -- tags and persons ---------------------------------------------------------------------------------------------


async def test_a_tag_given_or_taken_later_covers_from_then_on(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        one, two, other = [await add_device(o.store, name) for name in ("one", "two", "other")]
        await o.tags(one, "lab", "eng")
        await o.tags(other, "lab_2", "xlab")
        o.now(2)
        await o.grant(of_tag("LAB"))
        o.now(5)
        await o.forget_news()
        await o.tags(two, "lab")
        assert await o.news() == [(CONTROL, two.device_no, text(5), "2026-09-20")]
        o.now(8)
        await o.tags(one, "eng")
        o.now(9)
        await o.tags(one, "lab")
        o.now(10)
        await o.tags(two)
        await o.tags(two, "lab")
        one_no, two_no = one.device_no, two.device_no
        assert [await o.covered(day) for day in (1, 2, 4, 5, 7, 8, 9, 19, 20)] == [
            set(), {one_no}, {one_no}, {one_no, two_no}, {one_no, two_no}, {two_no}, {one_no, two_no},
            {one_no, two_no}, set(),
        ]  # fmt: skip
        names = "exemption_id, device_id, hostname, first_day, last_day"
        listed = await rows(o.store, f"SELECT {names} FROM posture_exempted ORDER BY hostname, first_day")
        assert [row[2:] for row in listed] == [
            ("one", text(2), text(7)), ("one", text(9), "2026-09-20"),
            ("two", text(5), text(9)), ("two", text(10), "2026-09-20"),
        ]  # fmt: skip


async def test_a_persons_devices_are_those_they_own_by_any_of_their_names(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        mine, also, other = [await add_device(o.store, name) for name in ("mine", "also", "other")]
        for device, owner in ((mine, "ADA@example.com"), (also, "7"), (other, "8")):
            await own(o.store, device, owner)
        await roster(o.store, ADA, BOB)
        await o.grant(replace(ASKED, scope="person", subject="ada@EXAMPLE.com"))
        assert await o.covered(14) == {mine.device_no, also.device_no}
        (entry,) = await o.listed(14)
        assert (entry["scope"], entry["subject"], entry["device_id"], entry["devices"]) == ("person", "7", None, 2)
        o.now(15)
        moved = Asset(serial="s1", shown="S1", hostname="new", platform="linux", owner="7", status="in_use")
        its = replace(source("assets", moved), now=at(15), today=text(15))
        await o.store.write(
            lambda tx: assets.import_assets(
                tx, its, [moved], frozenset({"serial", "owner", "status"}), lambda day: f"{day.isoformat()}T00:00:00Z"
            )
        )
        found = await rows(o.store, "SELECT device_no FROM muster_devices WHERE serial = 'S1'")
        assert await o.covered(15) == {mine.device_no, also.device_no, found[0][0]}
        assert await o.covered(14) == {mine.device_no, also.device_no}


async def test_a_changed_mail_address_keeps_a_person_the_same(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        mine = await add_device(o.store, "mine")
        await own(o.store, mine, "ada.new@example.com")
        await roster(o.store, ADA)
        await o.grant(replace(ASKED, scope="person", subject="7"))
        assert await o.covered(14) == set()
        await roster(o.store, replace(ADA, email="ada.new@example.com"))
        assert await o.covered(14) == {mine.device_no}


async def test_an_owner_the_roster_does_not_know_is_a_person_too(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        mine = await add_device(o.store, "mine")
        await own(o.store, mine, "Guest@example.com")
        await o.grant(replace(ASKED, scope="person", subject="guest@example.com"))
        assert await o.covered(14) == {mine.device_no}


async def test_ten_thousand_devices_by_a_tag(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        columns = "device_id, hostname, hardware_uuid, serial, platform, os_name, os_version, osquery_version,"
        rest = "instance_id, owner, in_scope_from, enrolled_at, last_seen_at"

        async def many(tx: Transaction) -> None:
            await tx.many(
                f"INSERT INTO muster_devices (device_no, tags, {columns} {rest}) SELECT ?, 'lab', ?, hostname,"
                f" hardware_uuid, serial, platform, os_name, os_version, osquery_version, {rest}"
                " FROM muster_devices WHERE device_no = ?",
                [(number, f"d{number}", laptop.device_no) for number in range(1000, 11_000)],
            )

        await o.store.write(many)
        exemption_id = await o.grant(of_tag("lab"))
        assert await o.covered(14) == set(range(1000, 11_000))
        assert len(await o.news()) == 10_000
        (entry,) = await o.listed(14)
        assert entry["devices"] == 10_000
        shown = await o.store.read(lambda tx: show_exemption(tx, exemption_id, text(14), most=3))
        assert [device["device_id"] for device in shown["devices"]] == ["d1000", "d10000", "d10001"]
        await o.revoke(exemption_id)
        assert await o.covered(14) == set()


# -- who leaves ---------------------------------------------------------------------------------------------------


async def test_a_device_that_leaves_and_comes_back_is_still_exempt(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        o.now(3)
        await o.grant(of(laptop))
        o.now(5)
        await o.store.write(lambda tx: erase.retire(tx, laptop.device_id, at(5)))
        o.now(7)
        again = await add_device(o.store, "laptop")
        assert again.device_no == laptop.device_no
        await o.fleet.users(laptop, 7, 9, ROOT, TOOR)
        await o.fleet.judge(7)
        assert (await o.fleet.verdicts(laptop, "status, underlying_status"))[-1] == ("exempt", "fail")


async def test_an_erased_device_leaves_the_exemption_without_its_words(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        o.now(3)
        asked = of(laptop, reason="she is ill", risk="hers", compensating_control="hers", link="https://t/she")
        exemption_id = await o.grant(replace(asked, requested_by="she"))
        o.now(6)
        await o.store.write(lambda tx: erase.begin_erasure(tx, laptop.device_id, "ann", "asked", at(6)))
        assert [len(await o.covered(day)) for day in (3, 5, 6)] == [1, 1, 0]
        (entry,) = await o.listed(6)
        names = ("reason", "requested_by", "risk", "compensating_control", "link", "approved_by")
        assert [entry[name] for name in names] == [*["(erased)"] * 4, None, "Bob"]
        assert await o.listed(6, expiring_days=30) == []
        await o.revoke(exemption_id)
        with pytest.raises(ExemptionError, match="is erased"):
            await o.grant(of(laptop))


async def test_an_erased_person_is_named_nowhere_and_covered_no_more(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        mine, tagged = await add_device(o.store, "mine"), await add_device(o.store, "tagged")
        await own(o.store, mine, "7")
        await o.tags(tagged, "lab")
        await roster(o.store, ADA, BOB)
        o.now(3)
        await o.grant(replace(ASKED, scope="person", subject="7", reason="Ada is ill", requested_by="Carl"))
        await o.grant(of_tag("lab", requested_by="ada@example.com", reason="a lab"), by="Carl")
        o.now(6)
        stone = await o.store.write(lambda tx: people.erase_person(tx, "7", "ann", "asked", at(6)))
        assert [await o.covered(day) for day in (5, 6)] == [{mine.device_no, tagged.device_no}, {tagged.device_no}]
        entries = {entry["scope"]: entry for entry in await o.listed(6)}
        assert (entries["person"]["subject"], entries["person"]["reason"]) == (stone, "(erased)")
        assert (entries["tag"]["requested_by"], entries["tag"]["reason"]) == (stone, "a lab")
