"""Explanations of what is oddly asked, and of days that were judged by packs that are no longer in force."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.evaluate.explained import ExplainError, Explanation
from server.evaluate.judge import evaluate
from server.report import explanation as words
from server.store import applications, erase
from server.store.driver import Transaction
from server.store.store import Store
from tests.contract import test_canary as canaries
from tests.contract.test_canary import BASE, CANARY, HOUR, MIDNIGHT
from tests.contract.test_judge import CONTROL, ROOT, TOOR, fleet
from tests.support import packs
from tests.support.stores import add_device

DAY = date(2026, 9, 1)
GUEST = {"who": "guest", "uid": "7"}


async def refused(store: Store, device: str, control: str = CONTROL, day: str | None = None) -> ExplainError:
    with pytest.raises(ExplainError) as caught:
        await explain(store, Question(device, control, day))
    return caught.value


async def test_devices_by_any_name_and_names_that_are_none(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop, twin, other = [await add_device(f.store, name) for name in ("laptop", "other", "third")]
        for device in (laptop, twin, other):
            await f.users(device, 0, 9, ROOT)
        await f.judge(0)
        update = "UPDATE muster_devices SET serial = ?, hostname = ?, device_id = ? WHERE device_no = ?"
        named = [("C02A", "laptop", "aaaa1111"), ("C02B", "Twin", "aaaa2222"), ("", "twin", "bbbb3333")]
        for values, device in zip(named, (laptop, twin, other), strict=True):
            await f.store.write(lambda tx, v=(*values, device.device_no): tx.run(update, v))  # type: ignore[misc]
        for name in ("aaaa1111", "LAPTOP", "c02a", "aaaa1"):
            assert (await explain(f.store, Question(name, CONTROL))).device.hostname == "laptop"
        for name in ("twin", "aaaa"):
            error = await refused(f.store, name)
            assert not error.unknown
            assert len(error.candidates) == 2
            assert "device_no" not in error.candidates[0]
        assert "did you mean 'laptop'?" in str(await refused(f.store, "labtop"))
        for odd in ("nobody", "", " ", "a\x00b", "\ud800", "%", "aa", "x" * 5_000, "' OR 1=1 --"):
            assert (await refused(f.store, odd)).unknown


async def test_days_and_controls_that_cannot_be_explained(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 1, 9, ROOT)
        await f.judge(1, 3)
        assert "in the future: it is 2026-09-15 in the fleet's zone UTC" in str(
            await refused(f.store, "laptop", CONTROL, "2026-09-16")
        )
        assert "the days beside it that were are 2026-09-02 and 2026-09-04" in str(
            await refused(f.store, "laptop", CONTROL, "2026-09-03")
        )
        assert "verdicts of it from 2026-09-02 to 2026-09-04" in str(
            await refused(f.store, "laptop", CONTROL, "2026-08-01")
        )
        for odd in ("yesterday", "2026-9-1", "2026-09-31", "0000-00-00", "2026-W36-2", "20260902"):
            assert not (await refused(f.store, "laptop", CONTROL, odd)).unknown
        assert f"did you mean '{CONTROL}'?" in str(await refused(f.store, "laptop", "only-root-has-uid"))
        late = await add_device(f.store, "late")
        await f.users(late, 5, 9, ROOT)
        assert "was not in scope on 2026-09-04: it is judged from 2026-09-06 on" in str(
            await refused(f.store, "late", CONTROL, "2026-09-04")
        )
        assert "has no verdict of" in str(await refused(f.store, "late"))
        await f.store.write(
            lambda tx: tx.run("UPDATE muster_devices SET retired_at = '2026-09-03T10:00:00Z' WHERE hostname = 'laptop'")
        )
        await f.judge(3)
        assert "left on 2026-09-03, before 2026-09-04" in str(await refused(f.store, "laptop", CONTROL, "2026-09-04"))


async def test_an_erased_device_has_its_verdicts_and_nothing_else(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT, TOOR)
        await f.judge(0)
        number = await f.store.write(
            lambda tx: erase.begin_erasure(tx, laptop.device_id, "ann", "asked for it", f.store.clock())
        )
        await erase.erase(f.store.driver, number, f.store.clock())
        found = await explain(f.store, Question(laptop.device_id, CONTROL, "2026-09-01"))
        assert found.verdict.status == "fail"
        assert (found.evidence, found.as_stored_now) == (None, None)
        said = " ".join(words.cautions(found))
        assert "erased" in said and "by ann" in said
        assert "toor" not in said


async def test_rows_that_were_deleted_for_their_age_are_said_to_be(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT, TOOR)
        await f.judge(0)

        async def delete(tx: Transaction) -> None:
            await tx.run("DELETE FROM muster_rows_users")
            await tx.run("INSERT INTO muster_meta (key, value) VALUES ('rows_kept_from', '2026-09-10T00:00:00Z')")

        await f.store.write(delete)
        found = await explain(f.store, Question("laptop", CONTROL))
        assert (found.verdict.status, found.as_stored_now) == ("fail", None)
        assert "have been deleted for their age" in " ".join(words.cautions(found))


async def explained(f: canaries.Fleet, hostname: str, day: date = DAY, control: str = "no-guests") -> Explanation:
    return await explain(f.store, Question(hostname, control, day.isoformat()))


async def test_a_day_of_the_past_is_explained_by_the_packs_of_its_end(tmp_path: Path) -> None:
    later = packs.content({packs.CONTROL: packs.control("who = 'visitor'")})
    async with canaries.fleet(tmp_path) as f:
        f.now = MIDNIGHT + 30 * HOUR
        await f.said(f.other, BASE, 9, GUEST)
        await evaluate(f.store, DAY, DAY)
        f.now = MIDNIGHT + 40 * HOUR
        await f.apply(later)
        found = await explained(f, "other")
        assert found.rule is not None and found.rule.condition == "who = 'guest'"
        assert found.judged_by.exact
        assert found.judged_by.application is not None and found.judged_by.application.number == 1
        assert "application 1" in words.judged_lines(found)[0] and "by ada" in words.judged_lines(found)[0]
        assert found.evidence is not None and found.evidence.count == 1
        # The packs are gone from the database: what is shown is by the nearest, and said to be.
        await f.store.write(lambda tx: tx.run("DELETE FROM muster_pack_contents WHERE hash = ?", (BASE.hash,)))
        store = Store(f.driver, f.store.in_force, clock=f.store.clock)
        lost = await explain(store, Question("other", "no-guests", DAY.isoformat()))
        assert lost.verdict.status == "fail"
        assert not lost.judged_by.exact
        assert "application 1 cannot be read any more" in " ".join(words.cautions(lost))
        assert lost.as_stored_now is None


async def test_a_control_that_no_pack_has_any_more(tmp_path: Path) -> None:
    without = packs.content(
        {packs.CONTROL: None, packs.CONTROL.replace("control.yaml", "cases.yaml"): None,
         packs.PACK: "title: All of it\nqueries: {residents: }\n"}
    )  # fmt: skip
    async with canaries.fleet(tmp_path) as f:
        f.now = MIDNIGHT + 30 * HOUR
        await f.said(f.other, BASE, 9, GUEST)
        await evaluate(f.store, DAY, DAY)
        f.now = MIDNIGHT + 40 * HOUR
        await f.apply(without)
        found = await explained(f, "other")
        assert found.judged_by.exact
        assert found.evidence is not None and found.evidence.count == 1
        await f.store.write(lambda tx: tx.run("DELETE FROM muster_pack_contents WHERE hash = ?", (BASE.hash,)))
        store = Store(f.driver, f.store.in_force, clock=f.store.clock)
        lost = await explain(store, Question("other", "no-guests", DAY.isoformat()))
        assert (lost.verdict.reason, lost.rule) == ("rows_match", None)
        assert "No packs that can be read have this control" in " ".join(words.cautions(lost))


async def test_a_device_of_a_canary_is_explained_by_the_canary(tmp_path: Path) -> None:
    async with canaries.fleet(tmp_path) as f:
        f.now = MIDNIGHT + 8 * HOUR
        await f.apply(CANARY, "tag=eng")
        f.now = MIDNIGHT + 30 * HOUR
        await f.said(f.chosen, CANARY, 9, {**GUEST, "shell": "/bin/bash"})
        await f.said(f.other, BASE, 9, GUEST)
        await evaluate(f.store, DAY, DAY)
        chosen, other = await explained(f, "chosen"), await explained(f, "other")
        assert chosen.rule is not None and other.rule is not None
        assert (chosen.rule.condition, chosen.judged_by.canary, chosen.judged_by.exact) == (
            "shell = '/bin/bash'", True, True
        )  # fmt: skip
        assert (other.rule.condition, other.judged_by.canary, other.judged_by.exact) == ("who = 'guest'", False, True)
        assert "as a device of its canary" in words.judged_lines(chosen)[0]
        f.now = MIDNIGHT + 31 * HOUR
        await f.driver.write(lambda tx: applications.stop_canary(tx, "bob", "too dear", f.now))
        await f.reloader.look()
        again = await explained(f, "chosen")
        assert again.rule is not None and again.rule.condition == "shell = '/bin/bash'"


async def test_packs_whose_targets_leave_a_device_out(tmp_path: Path) -> None:
    targeted = packs.content(
        {packs.PACK: "title: All\ncontrols: [no-guests]\nqueries: {residents: }\ntargets: {tags: {include: [eng]}}\n"}
    )
    async with canaries.fleet(tmp_path) as f:
        f.now = MIDNIGHT + 8 * HOUR
        await f.apply(targeted)
        f.now = MIDNIGHT + 30 * HOUR
        await f.said(f.other, BASE, 9, GUEST)
        await evaluate(f.store, DAY, DAY)
        found = await explained(f, "other")
        assert found.verdict.reason == "not_targeted"
        assert list(found.packs) == [("all", False)]
        assert "Packs that bring this control: all. Their targets leave the device out" in words.scope_lines(found)[0]
