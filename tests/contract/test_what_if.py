"""What a control would have said: exactly what judging by it says afterwards, and nothing is written before."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from server.app import shipped_packs
from server.catalog.catalog import Catalog, LoadedControl, load_catalog
from server.catalog.problems import CatalogError
from server.catalog.queries import QueryColumn
from server.catalog.trial import Trial, read_trial, trial_of
from server.evaluate import what_if as trying
from server.evaluate.judge import evaluate
from server.evaluate.verdicts import Verdict
from server.evaluate.what_if import Changed, WhatIf, what_if
from server.store import erase
from server.store.devices import Device
from server.store.driver import StoreError
from server.store.store import Store
from tests.contract.test_judge import CATALOG, CONTROL, DAY, FIRST, MIDNIGHT, ROOT, TOOR, Fleet, fleet
from tests.support.exemptions import exempt_device
from tests.support.stores import add_device, passing_store, rows

DAYS = 8
SHADOW = QueryColumn("shadow", "text", False)
LAST = FIRST + timedelta(days=DAYS - 1)
TABLES = "muster_verdicts muster_evaluation muster_days muster_controls muster_revisions muster_news".split()


def with_rule(
    catalog: Catalog, predicate: str, control_id: str = CONTROL, platforms: Sequence[str] = ("darwin", "linux")
) -> LoadedControl:
    """The control with another condition on every row of ``users``, or on all of them where it is a SELECT."""
    other: dict[str, str | None] = {"every": predicate, "none": None, "any": None}
    if predicate.startswith("SELECT"):
        none = dict.fromkeys(("every", "none", "any", "undecided"))
        other = {**none, "query": "", "sql": predicate, "evidence": "SELECT uid FROM users"}
    loaded = catalog.controls[CONTROL]
    rules = {
        platform: rule.model_copy(update=other)
        for platform, rule in loaded.control.platforms.items()
        if platform in platforms
    }
    control = loaded.control.model_copy(update={"platforms": rules})
    return replace(loaded, control=control, control_id=control_id)


def applied(catalog: Catalog, loaded: LoadedControl) -> Catalog:
    """The catalog as it is once the control is applied; a new one is brought by the pack of the old one."""
    packs = {
        name: pack.model_copy(update={"controls": sorted({*pack.controls, loaded.control_id})})
        if CONTROL in pack.controls
        else pack
        for name, pack in catalog.packs.items()
    }
    return replace(catalog, controls={**catalog.controls, loaded.control_id: loaded}, packs=packs)


async def a_past(f: Fleet) -> list[Device]:
    """Devices that answered, fell silent, failed, lapsed, are exempt, left or were erased."""
    names = ("good", "bad", "asleep", "broken", "lapsed", "exempt", "left", "erased", "mute", "old")
    devices = {name: await add_device(f.store, name) for name in names}
    for day in range(DAYS):
        await f.users(devices["good"], day, 9, ROOT)
        await f.users(devices["bad"], day, 9, ROOT, *([TOOR] if day % 3 else []))
        if day in (0, 1, 5):
            await f.users(devices["asleep"], day, 9, ROOT, TOOR)
        await f.users(devices["broken"], day, 8, ROOT)
        if day > 4:
            await f.failed(devices["broken"], day, 10)
        for hour, users in ((6, (ROOT,)), (12, (ROOT, TOOR)), (15, (ROOT,))):
            await f.users(devices["lapsed"], day, hour, *users)
        for name in ("exempt", "left", "erased"):
            await f.users(devices[name], day, 9, ROOT, TOOR)
        await f.users(devices["old"], day, 9, ROOT, version="0ld" if day < 4 else "")
    await exempt_device(f.store, devices["exempt"].device_id, CONTROL, "2026-09-06", MIDNIGHT + 2 * DAY)
    await f.store.write(lambda tx: erase.retire(tx, devices["left"].device_id, MIDNIGHT + 4 * DAY))
    return list(devices.values())


async def tried(store: Store, trial: Trial, last: int = DAYS - 1) -> tuple[WhatIf, list[Changed]]:
    found: list[Changed] = []
    outcome = await what_if(store, trial, FIRST, FIRST + timedelta(days=last), found.append)
    return outcome, found


async def posture(store: Store, control: str) -> dict[tuple[str, str], Verdict]:
    told = await rows(
        store,
        "SELECT device_id, day, status, underlying_status, lapsed, reason FROM posture WHERE control = ?",
        (control,),
    )
    return {(device_id, day): Verdict(*verdict) for device_id, day, *verdict in told}


async def everything(store: Store) -> list[list[str]]:
    return [sorted(map(repr, await rows(store, f"SELECT * FROM {name}"))) for name in TABLES]


def plain(verdict: Verdict | None) -> Verdict | None:
    """A verdict without its reason."""
    return verdict and verdict._replace(reason=None)


def spread(changes: Sequence[Changed]) -> dict[tuple[str, str], tuple[Verdict | None, Verdict | None]]:
    """Changes by device and day."""
    found = {}
    for change in changes:
        day = FIRST
        while day <= LAST:
            if change.first_day <= day.isoformat() <= change.last_day:
                key = (change.device_id, day.isoformat())
                assert key not in found
                found[key] = (change.before, change.after)
            day += timedelta(days=1)
    return found


@pytest.mark.parametrize("stretch", [2, 5000])
@pytest.mark.parametrize("control", [CONTROL, "a-new-one"], ids=["changed", "new"])
@pytest.mark.parametrize(
    "predicate",
    ["username = 'nobody'", "uid = 0", "SELECT COUNT(*) > 1 FROM users WHERE uid = 0"],
    ids=["stricter", "looser", "aggregate"],
)
async def test_it_says_what_judging_says_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predicate: str, control: str, stretch: int
) -> None:
    monkeypatch.setattr(trying, "STRETCH", stretch)
    async with fleet(tmp_path) as f:
        devices = await a_past(f)
        await f.judge(*range(DAYS - 1))
        number = await f.store.write(
            lambda tx: erase.begin_erasure(tx, devices[7].device_id, "ann", "asked", MIDNIGHT + 7 * DAY)
        )
        await erase.erase(f.store.driver, number, MIDNIGHT + 7 * DAY)
        await add_device(f.store, "latecomer")
        after = applied(CATALOG, with_rule(CATALOG, predicate, control))
        trial = trial_of(after, after.controls[control], None)
        stored, before = await everything(f.store), await posture(f.store, control)
        outcome, changes = await tried(f.store, trial)
        assert await everything(f.store) == stored
        other = Store(f.store.driver, after, clock=f.store.clock)
        await evaluate(other, FIRST, LAST)
        now = await posture(f.store, control)
        keys = {key for key in now.keys() | before.keys() if plain(before.get(key)) != plain(now.get(key))}
        assert spread(changes) == {key: (before.get(key), now.get(key)) for key in keys}
        assert {day.day: (dict(day.before), dict(day.after)) for day in outcome.days} == {
            day: tuple(
                dict(Counter(verdict.status for (_, on), verdict in said.items() if on == day))
                for said in (before, now)
            )
            for day in ((FIRST + timedelta(days=ahead)).isoformat() for ahead in range(DAYS))
        }
        assert outcome.devices_changed == len({device for device, _ in keys})
        assert sum(outcome.moves.values()) == sum(day.changed for day in outcome.days) == len(keys)
        judged = control == CONTROL
        assert [day.judged for day in outcome.days] == [*[judged] * (DAYS - 1), False]


async def test_the_same_rule_changes_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        await a_past(f)
        await f.judge(*range(DAYS))
        outcome, changes = await tried(f.store, trial_of(CATALOG, CATALOG.controls[CONTROL], None))
        assert (changes, outcome.devices_changed, outcome.moves) == ([], 0, {})
        assert all(day.before == day.after for day in outcome.days)


async def test_a_run_of_equal_changes_is_told_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        for day in range(DAYS):
            await f.users(laptop, day, 9, ROOT, *([TOOR] if day == 3 else []))
        await f.judge(*range(DAYS))
        loaded = with_rule(CATALOG, "username = 'nobody'")
        _, changes = await tried(f.store, trial_of(applied(CATALOG, loaded), loaded, None))
        passed, failed = Verdict("pass", "pass", 0, None), Verdict("fail", "fail", 0, "rows_break_rule")
        assert changes == [
            Changed(laptop.device_id, "laptop", "2026-09-01", "2026-09-03", passed, failed),
            Changed(laptop.device_id, "laptop", "2026-09-05", "2026-09-08", passed, failed),
        ]


# -- what there is to go by ---------------------------------------------------------------------------------------


async def test_a_query_never_collected_or_collected_otherwise_is_said(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 2, 9, ROOT)
        loaded = CATALOG.controls[CONTROL]

        async def source(catalog: Catalog) -> tuple[str | None, str | None, list[str], str, str]:
            outcome, changes = await tried(f.store, trial_of(catalog, catalog.controls[CONTROL], None))
            mine = next(one for one in outcome.sources if one.platform == "linux")
            verdict = changes[-1].after
            assert verdict is not None
            return (
                mine.answered_from, mine.version_from, list(mine.missing_columns), mine.remark or "",
                f"{verdict.status} {verdict.reason}",
            )  # fmt: skip

        at = "2026-09-03T09:00:00Z"
        assert await source(CATALOG) == (at, at, [], "", "stale too_old")
        users = CATALOG.queries["users", "linux"]
        newer = replace(users, version="0ther")
        queries = {**CATALOG.queries, ("users", "linux"): newer}
        found = await source(replace(CATALOG, queries=queries))
        assert found[:3] == (at, None, []) and "in another version" in found[3]
        wider = replace(newer, columns=(*users.columns, SHADOW))
        queries = {**CATALOG.queries, ("users", "linux"): wider}
        wanting = with_rule(CATALOG, "shadow = 'x'", platforms=["linux"])
        found = await source(replace(CATALOG, queries=queries, controls={CONTROL: wanting}))
        assert found[:3] == (at, None, ["shadow"]) and "lacks the columns shadow" in found[3]
        assert found[4] == "stale too_old"
        rules = {
            platform: rule.model_copy(update={"query": "unheard"})
            for platform, rule in loaded.control.platforms.items()
        }
        unheard = replace(loaded, control=loaded.control.model_copy(update={"platforms": rules}))
        queries = {**CATALOG.queries, **{("unheard", p): replace(users, name="unheard") for p in rules}}
        found = await source(replace(CATALOG, queries=queries, controls={CONTROL: unheard}))
        assert found[:2] == (None, None) and "never collected" in found[3]
        assert found[4] == "no_data never_answered"


async def test_answers_to_another_version_are_stale_on_their_day(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        users = CATALOG.queries["users", "linux"]
        wider = replace(users, version="0ther", columns=(*users.columns, SHADOW))
        catalog = replace(CATALOG, queries={**CATALOG.queries, ("users", "linux"): wider})
        loaded = with_rule(catalog, "shadow = 'x'", platforms=["linux"])
        after = applied(catalog, loaded)
        _, changes = await tried(f.store, trial_of(after, loaded, None), last=0)
        assert [(change.after and change.after.status, change.after and change.after.reason) for change in changes] == [
            ("stale", "other_version")
        ]
        other = Store(f.store.driver, after, clock=f.store.clock)
        await other.ship()
        await evaluate(other, FIRST, FIRST)
        assert await f.verdicts(laptop, "status, reason") == [("stale", "other_version")]


# -- days ---------------------------------------------------------------------------------------------------------


async def test_days_that_cannot_be_tried(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        trial = trial_of(CATALOG, CATALOG.controls[CONTROL], None)
        for first, last, says in (
            (LAST, FIRST, "before it begins"),
            (FIRST, FIRST + timedelta(days=15), "in the future"),
            (FIRST.replace(year=1960), LAST, "no computers"),
        ):
            with pytest.raises(StoreError, match=says):
                await what_if(f.store, trial, first, last, lambda _change: None)


async def test_a_fleet_of_none_and_days_before_the_data(tmp_path: Path) -> None:
    async with passing_store(tmp_path, CATALOG, clock=lambda: float(MIDNIGHT + 14 * DAY)) as store:
        trial = trial_of(CATALOG, CATALOG.controls[CONTROL], None)
        outcome, changes = await tried(store, trial)
        assert (outcome.devices, changes, [dict(day.after) for day in outcome.days]) == (0, [], [{}] * DAYS)
        laptop = await add_device(store, "laptop")
        await Fleet(store).users(laptop, 5, 9, ROOT)
        outcome, _ = await tried(store, trial)
        assert [dict(day.after) for day in outcome.days] == [{"not_applicable": 1}] * 5 + [{"pass": 1}] + [
            {"stale": 1}
        ] * 2


# -- reading a control's folder -----------------------------------------------------------------------------------


def test_a_control_in_a_packs_folder_goes_by_that_folder(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    shutil.copytree(shipped_packs(), packs)
    loaded = load_catalog(packs).controls[CONTROL]
    folder = (packs / loaded.file).parent
    trial = read_trial(folder, CATALOG)
    assert (trial.control_id, trial.folder, trial.asked) == (CONTROL, packs.resolve(), True)
    assert list(trial.catalog.controls) == [CONTROL]
    new = folder.with_name("a-new-one")
    shutil.copytree(folder, new)
    trial = read_trial(new, CATALOG)
    assert (trial.control_id, trial.asked) == ("a-new-one", False)
    (new / "control.yaml").write_text("title: [")
    with pytest.raises(CatalogError):
        read_trial(new, CATALOG)


def test_a_control_elsewhere_goes_by_the_packs_in_force(tmp_path: Path) -> None:
    source = shipped_packs() / CATALOG.controls[CONTROL].file
    folder = tmp_path / CONTROL
    folder.mkdir()
    text = source.read_text(encoding="utf-8")
    (folder / "control.yaml").write_text(text, encoding="utf-8")
    trial = read_trial(folder, CATALOG)
    assert (trial.control_id, trial.folder, trial.asked) == (CONTROL, None, True)
    (folder / "control.yaml").write_text(text.replace("query: users", "query: nope"), encoding="utf-8")
    with pytest.raises(CatalogError, match="there is no query 'nope'"):
        read_trial(folder, CATALOG)
    with pytest.raises(CatalogError, match=r"there is no control\.yaml"):
        read_trial(tmp_path, CATALOG)
