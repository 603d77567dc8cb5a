"""Which exemptions are listed, and what cannot be granted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from server.catalog.fleet import Fleet as Settings
from server.store.exempt_lists import show_exemption
from server.store.exempting import By, ExemptionError, NoExemptionError, Terms
from server.store.in_force import InForce, Part
from server.store.retention import Limits, retain
from tests.contract.test_exemptions import ASKED, FIRST, LATER, at, of, of_tag, office, text
from tests.contract.test_judge import CATALOG, CONTROL, ROOT, TOOR
from tests.support.stores import add_device, rows

# -- lists --------------------------------------------------------------------------------------------------------


async def test_those_that_end_soon_and_those_nobody_needs(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        mended, broken, mixed = [await add_device(o.store, name) for name in ("mended", "broken", "mixed")]
        for day in range(10):
            await o.fleet.users(mended, day, 9, ROOT)
            await o.fleet.users(broken, day, 9, ROOT, TOOR)
            await o.fleet.users(mixed, day, 9, *(ROOT, TOOR) if day == 7 else (ROOT,))
        o.now(0)
        ids = {
            device.device_no: await o.grant(of(device, last_day=FIRST + timedelta(days=12 + device.device_no)))
            for device in (mended, broken, mixed)
        }
        for day in range(10):
            o.now(day, 23)
            await o.fleet.judge(day)

        async def found(**wanted: int) -> set[str]:
            return {entry["exemption_id"] for entry in await o.listed(9, **wanted)}

        assert await found(unneeded_days=7) == {ids[mended.device_no]}
        assert await found(unneeded_days=2) == {ids[mended.device_no], ids[mixed.device_no]}
        assert await found(unneeded_days=11) == set()
        ends = min(ids)
        assert await found(expiring_days=3 + ends) == {ids[ends]}
        assert await found(expiring_days=2 + ends) == set()
        listed = {entry["exemption_id"]: entry["passing"] for entry in await o.listed(9)}
        assert listed == {
            ids[mended.device_no]: 1, ids[broken.device_no]: 0, ids[mixed.device_no]: 1,
        }  # fmt: skip
        assert len(await o.listed(9, device=mixed.device_id, control=CONTROL, state="approved")) == 1
        assert await o.listed(9, control="other") == []
        shown = await o.store.read(lambda tx: show_exemption(tx, ids[broken.device_no], text(9)))
        assert [device["underlying_status"] for device in shown["devices"]] == ["fail"]
        with pytest.raises(NoExemptionError):
            await o.store.read(lambda tx: show_exemption(tx, "none", text(9)))


async def test_exemptions_are_kept_for_ever(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        o.now(3)
        await o.grant(of(laptop))
        before = [await rows(o.store, f"SELECT * FROM {name}") for name in ("exemptions", "posture_exempted")]
        late = "2040-01-01T00:00:00Z"
        await retain(o.store.driver, Limits(rows=late, events=late, verdicts="2040-01-01"), at(5000))
        assert [await rows(o.store, f"SELECT * FROM {name}") for name in ("exemptions", "posture_exempted")] == before


# -- bad input ----------------------------------------------------------------------------------------------------

BAD = {
    "end before start": (replace(ASKED, first_day=LATER, last_day=FIRST + timedelta(days=20)), "would end before"),
    "end in the past": (replace(ASKED, last_day=FIRST), "would end before it begins"),
    "start in the past": (replace(ASKED, first_day=FIRST), "cannot begin on 2026-09-01"),
    "too long": (replace(ASKED, last_day=date(2027, 9, 15)), "366 days, more than the 365"),
    "unknown device": (replace(ASKED, subject="nobody"), "device 'nobody' is not known"),
    "unknown tag": (replace(ASKED, scope="tag", subject="nobody"), "No device has the tag 'nobody'"),
    "two tags": (replace(ASKED, scope="tag", subject="lab,eng"), "No device has the tag"),
    "empty tag": (replace(ASKED, scope="tag", subject=" "), "No device has the tag"),
    "unknown person": (replace(ASKED, scope="person", subject="nobody"), "neither in the roster nor owns"),
    "empty person": (replace(ASKED, scope="person", subject=""), "neither in the roster nor owns"),
    "unknown scope": (replace(ASKED, scope="all"), "a device, a tag, a person"),
    "unknown control": (replace(ASKED, control="no-such-control"), "no control 'no-such-control'"),
    "no reason": (replace(ASKED, reason=" \n "), "The reason is missing"),
    "no name": (replace(ASKED, requested_by="\u200b "), "has to have a name"),
    "long name": (replace(ASKED, requested_by="n" * 300), "at most 255"),
    "script as link": (replace(ASKED, link="javascript:alert(1)"), "no address that begins with https"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_what_cannot_be_granted_is_said_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    asked, says = BAD[case]
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        await o.tags(laptop, "lab", "eng")
        with pytest.raises(ExemptionError, match=says):
            await o.grant(replace(asked, subject=laptop.device_id) if asked.subject == ASKED.subject else asked)
        assert await rows(o.store, "SELECT * FROM exemptions") == []


def test_the_packs_in_force_say_which_controls_there_are_and_how_long_one_may_last() -> None:
    catalog = replace(CATALOG, fleet=Settings(exemption_days_max=10))
    terms = Terms.of(InForce(Part(catalog)))
    assert (set(terms.controls), terms.days_max) == (set(CATALOG.controls), 10)


async def test_a_request_that_nobody_decided_in_time(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        o.now(1)
        exemption_id = await o.request(of(laptop, last_day=FIRST + timedelta(days=3)))
        o.now(4)
        with pytest.raises(ExemptionError, match="which is over: reject it"):
            await o.approve(exemption_id, By("Bob"))
        assert [entry["phase"] for entry in await o.listed(4)] == ["lapsed"]
        with pytest.raises(NoExemptionError):
            await o.approve("none", By("Bob"))


async def test_exemptions_of_the_same_that_overlap_are_refused_and_others_add_up(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        await o.tags(laptop, "lab")
        o.now(1)
        await o.grant(of(laptop, last_day=FIRST + timedelta(days=5)))
        with pytest.raises(ExemptionError, match="let this one begin on 2026-09-07"):
            await o.grant(of(laptop))
        await o.request(of(laptop, first_day=date(2026, 9, 7)))
        with pytest.raises(ExemptionError, match="decide on it first"):
            await o.request(of(laptop, first_day=date(2026, 9, 8)))
        by_tag = await o.grant(of_tag("lab"))
        assert [await o.covered(day) for day in (5, 6)] == [{laptop.device_no}] * 2
        o.now(3)
        await o.revoke(by_tag)
        assert [await o.covered(day) for day in (5, 6)] == [{laptop.device_no}, set()]


async def test_of_two_who_approve_at_once_one_is_told(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop = await add_device(o.store, "laptop")
        exemption_id = await o.request(of(laptop))
        done = await asyncio.gather(
            *(o.approve(exemption_id, By(name)) for name in ("Bob", "Carl")), return_exceptions=True
        )
        assert {type(one) for one in done} == {type(None), ExemptionError}
        assert len(await rows(o.store, "SELECT * FROM posture_exempted")) == 1


async def test_a_device_is_named_by_its_hostname_where_that_is_one_devices(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        laptop, other = await add_device(o.store, "laptop"), await add_device(o.store, "other")
        exemption_id = await o.grant(replace(ASKED, subject="LapTop"))
        (entry,) = await o.listed(9, device=laptop.device_id)
        assert (entry["exemption_id"], entry["subject"]) == (exemption_id, laptop.device_id)
        with pytest.raises(ExemptionError, match="is not known"):  # the beginning of an id may be anybody's
            await o.grant(replace(ASKED, subject=other.device_id[:6]))
        await o.store.write(lambda tx: tx.run("UPDATE muster_devices SET hostname = 'laptop'"))
        with pytest.raises(ExemptionError, match=f"Several devices.*{other.device_id}"):
            await o.grant(replace(ASKED, subject="laptop"))
