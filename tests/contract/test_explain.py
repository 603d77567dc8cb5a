"""Explanations: every status and reason, the rows that decided, the answer that counts, and what was missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from server.catalog.assets import Asset
from server.catalog.config import Configs
from server.evaluate.evidence import DecidingRow
from server.evaluate.explain import explain
from server.evaluate.explain_subject import Question
from server.evaluate.explained import Explanation
from server.evaluate.judge import evaluate
from server.evaluate.verdicts import Verdict
from server.normalize.names import scheduled_name
from server.normalize.times import iso
from server.report import explanation as words
from server.report.explanation_json import as_json
from server.report.words import printable
from server.store import exempting
from server.store.devices import Device, add_expected
from server.store.exempting import Asked, By, Terms
from server.store.served import note_served
from server.wire.log import parse_log
from tests.contract.test_judge import CATALOG, CONTROL, DAY, HOUR, MIDNIGHT, ROOT, TOOR, Fleet, fleet
from tests.support.server import snapshot_line
from tests.support.stores import add_device, open_store


async def told(f: Fleet, day: int, device: str = "laptop", control: str = CONTROL, **page: int) -> Explanation:
    return await explain(f.store, Question(device, control, f"2026-09-{day + 1:02}"), **page)


async def says(f: Fleet, device: Device, query: str, at: float, *rows: Mapping[str, str]) -> None:
    """An answer to the version of a query that is in force."""
    version = CATALOG.queries[query, device.platform].version
    line = snapshot_line(scheduled_name(query, version), int(MIDNIGHT + at * HOUR), list(map(dict, rows)))
    raw = json.dumps({"node_key": "k", "log_type": "result", "data": [line]}).encode()
    assert not (await f.store.ingest(device, parse_log(raw))).rejected


def values(row: DecidingRow) -> dict[str, object]:
    return {cell.column: cell.value for cell in row.cells}


def text(it: Explanation) -> str:
    """All of its words; and the same as JSON can be written and says the same status."""
    shaped = json.loads(json.dumps(as_json(it)))
    assert shaped["verdict"]["status"] == it.verdict.status
    parts = [line for part in words.parts(it) for line in part.lines]
    return "\n".join([words.summary(it), words.since(it), words.state(it), words.rows_heading(it), *parts])


async def test_a_fortnight_day_by_day(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 1, 9, ROOT)
        await f.users(laptop, 2, 9, ROOT, TOOR)
        await f.users(laptop, 3, 9, ROOT, TOOR)
        await f.users(laptop, 3, 12, ROOT)
        await f.users(laptop, 5, 9, ROOT)
        await f.failed(laptop, 5, 15)
        await f.users(laptop, 6, 9, ROOT)
        await f.users(laptop, 7, 9, {**ROOT, "uid": "zero"})
        await f.users(laptop, 8, 9, ROOT, version="0123456789")
        await f.judge(*range(10))
        days = [await told(f, day) for day in range(10)]
        assert [one.as_stored_now for one in days] == [None] * 10
        assert all(one.judged_by.exact for one in days)

        assert "judged from 2 Sep 2026, 09:00 UTC on" in text(days[0])
        assert "has 1 row, and none is of the kind" in text(days[1])
        assert days[1].before is not None and days[1].before.verdict.status == "not_applicable"

        (bad,) = days[2].evidence.rows if days[2].evidence else ()
        assert (values(bad)["username"], bad.valid_from, bad.valid_to) == (
            "toor", "2026-09-03T09:00:00Z", "2026-09-04T12:00:00Z"
        )  # fmt: skip
        assert {cell.column for cell in bad.cells if cell.decides} == {"uid", "username"}
        (said,) = days[2].observations
        assert (said.at, said.next_expected_at) == ("2026-09-03T09:00:00Z", "2026-09-03T10:00:00Z")
        assert "usermod" in text(days[2])

        (lapse,) = days[3].lapses
        assert (lapse.at, lapse.until, lapse.reason) == ("2026-09-04T09:00:00Z", "2026-09-04T12:00:00Z", "rows_match")
        assert [values(row)["username"] for row in lapse.evidence.rows] == ["toor"]
        assert "Within the day the rule was broken" in text(days[3])

        assert "Nothing at all was observed" in text(days[4])
        assert "last answer to users before the day's end is of 4 Sep 2026, 12:00 UTC" in text(days[4])
        assert "answered again at 6 Sep 2026, 09:00 UTC" in text(days[4])

        assert [said.message for said in days[5].observations] == ["disk I/O error"]
        assert "osquery's words: disk I/O error" in text(days[5])
        assert "it answered 1 query" in text(days[5])

        (odd,) = days[7].evidence.rows if days[7].evidence else ()
        assert values(odd)["uid"] == "zero"
        assert "cannot be judged" in words.rows_heading(days[7])

        assert "answered version 0123456789; the rule is for version" in text(days[8])
        assert (days[9].run.first_day, days[9].status_since) == ("2026-09-10", "2026-09-09")
        assert "for 2 days on end; for this reason since 10 Sep; before that error (a row" in words.since(days[9])


async def test_another_platform_and_a_device_that_never_answered(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        silent, desk = await add_device(f.store, "laptop"), await add_device(f.store, "desk", "windows")
        for device in (silent, desk):
            await f.users(device, 0, 9)
        await f.store.write(lambda tx: tx.run("DELETE FROM muster_coverage WHERE device_no = ?", (silent.device_no,)))
        await f.judge(0)
        never, other = await told(f, 0), await told(f, 0, "desk")
        assert (never.verdict.reason, never.observations) == ("never_answered", [])
        assert "There is no answer to users before the day's end." in text(never)
        assert (other.verdict.reason, other.rule) == ("platform", None)
        assert "no rule for this platform" in text(other)


async def test_a_machine_that_never_enrolled(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        asset = Asset(serial="c02x1", shown="C02X1", hostname="new-mac", platform="linux", model="", owner="",
                      status="in_use", since=None, tags="", in_scope_from=None)  # fmt: skip
        await f.store.write(lambda tx: add_expected(tx, [(asset, iso(MIDNIGHT))]))
        await f.judge(0)
        found = await told(f, 0, "C02X1")
        assert found.verdict.status == "no_data"
        assert "never enrolled" in text(found)


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [("denylisted", "denylisted", "denylisted the query"), ("incomplete", "incomplete", "a piece of the differential")],
)
async def test_words_that_are_no_whole_answer(tmp_path: Path, status: str, reason: str, said: str) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        for table in ("muster_coverage", "muster_instants"):
            await f.store.write(lambda tx, table=table: tx.run(f"UPDATE {table} SET status = ?", (status,)))  # type: ignore[misc]
        await f.judge(0)
        found = await told(f, 0)
        assert found.verdict.reason == reason
        assert said in text(found)


async def test_what_the_device_told_of_its_config_and_schedule(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        config = Configs(CATALOG).of(replace(laptop, osquery_version="5.23.0"))
        await f.users(laptop, 0, 9, ROOT)
        info = dict.fromkeys((column.name for column in CATALOG.queries["osquery_info", "linux"].columns), "")
        await says(f, laptop, "osquery_info", DAY / HOUR + 9, {**info, "config_hash": config.hash})
        scheduled = dict.fromkeys((column.name for column in CATALOG.queries["osquery_schedule", "linux"].columns), "0")
        name = scheduled_name("users", CATALOG.queries["users", "linux"].version)
        await says(f, laptop, "osquery_schedule", DAY / HOUR + 10, {**scheduled, "name": name})
        await f.store.write(lambda tx: note_served(tx, {laptop.device_no: (3, config.hash)}, f.store.clock()))
        await f.judge(0, 1)
        found = (await told(f, 1)).missing
        assert found is not None
        (answer,) = found.answers
        assert (found.config, answer.scheduled, answer.denylisted, answer.asked) == ("proven", True, False, True)
        assert (found.served_number, found.presence.queries) == (3, 2)
        assert found.presence.last_at == "2026-09-02T10:00:00Z"
        before = await told(f, 0)
        assert before.missing is None
        await says(f, laptop, "osquery_schedule", DAY / HOUR + 11, {**scheduled, "name": name, "denylisted": "1"})
        await f.judge(1)
        await f.store.write(
            lambda tx: tx.run(
                "INSERT INTO muster_asked (device_no, table_name, asked_at, version, day, why, asked_by, ask_at, sent,"
                " outcome, message) VALUES (?, 'users', '2026-09-02T12:00:00Z', '', '2026-09-02', 'guarantee', '', '',"
                " 1, 'failed', 'no such table')",
                (laptop.device_no,),
            )
        )
        after = await told(f, 1)
        assert "osquery has users denylisted" in text(after)
        assert (
            "asked for users beside its schedule at 2 Sep 2026, 12:00 UTC: the query failed (no such table)."
            in text(after)
        )
        await says(f, laptop, "osquery_schedule", DAY / HOUR + 12, {**scheduled, "name": "other"})
        await f.judge(1)
        assert "does not have users in that version" in text(await told(f, 1))


async def test_thousands_of_rows_are_counted_and_paged(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT, *({**TOOR, "username": f"u{number:04}"} for number in range(2_000)))
        await f.judge(0)
        names = set()
        for offset in (0, 500, 1_000, 1_500):
            page = (await told(f, 0, limit=500, offset=offset)).evidence
            assert page is not None and (page.count, page.offset, len(page.rows)) == (2_000, offset, 500)
            names |= {values(row)["username"] for row in page.rows}
        assert len(names) == 2_000
        beyond = await told(f, 0, limit=500, offset=5_000)
        assert beyond.evidence is not None and (beyond.evidence.count, len(beyond.evidence.rows)) == (2_000, 0)
        assert "2,000 rows of users that decided; here 1 to 20" in text(await told(f, 0))


async def test_odd_text_in_rows_steers_no_terminal(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT, {**TOOR, "username": "r\u202eoo\x1b[31mt\n<b>"})
        await f.judge(0)
        found = (await told(f, 0)).evidence
        assert found is not None
        name = values(found.rows[0])["username"]
        assert name == "r\u202eoo\x1b[31mt\n<b>"
        assert printable(name) == "r\\u202eoo\\x1b[31mt\\n<b>"


async def test_an_exemption_and_what_it_covers(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 14, 0, ROOT, TOOR)
        asked = Asked(control=CONTROL, scope="device", subject=laptop.device_id, last_day=date(2026, 9, 30),
                      reason="Waits for the vendor", requested_by="Ann", risk="a second root")  # fmt: skip
        terms, now = Terms((CONTROL,), 365), f.store.clock()
        granted = await f.store.write(lambda tx: exempting.grant(tx, asked, By("Bob"), terms, now))
        await f.judge(14)
        found = await told(f, 14)
        assert found.day.provisional
        assert found.verdict == Verdict("exempt", "fail", 0, "rows_match")
        assert found.evidence is not None and found.evidence.count == 1
        (given,) = found.exemptions
        assert (given["exemption_id"], given["requested_by"], given["approved_by"], given["last_day"]) == (
            granted, "Ann", "Bob", "2026-09-30"
        )  # fmt: skip
        assert "An exemption is in force; without it: fail." in text(found)
        assert "Asked for by Ann, approved by Bob at 15 Sep 2026, 00:00 UTC" in text(found)
        assert "Risk: a second root" in text(found)


async def test_lists_with_the_values_that_were_looked_up(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        columns = dict.fromkeys((column.name for column in CATALOG.queries["os_version", "linux"].columns), "")
        await says(f, laptop, "os_version", 9, {**columns, "name": "Debian GNU/Linux", "major": "9", "version": "9"})
        await f.judge(0)
        found = await told(f, 0, control="release-supported")
        assert found.evidence is not None and found.verdict.status == "fail"
        used = {one.name: one for one in found.lists}
        assert used["os_releases"].digest == CATALOG.lists["os_releases"].digest
        assert used["os_releases"].as_of in text(found)
        looked_up = found.evidence.rows[0].looked_up
        assert any(call.startswith("list_value('os_releases'") for call in looked_up)
        assert "2022-06-30" in looked_up.values()


async def test_late_data_that_is_not_judged_yet_is_said(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        await f.users(laptop, 0, 10, ROOT, TOOR)
        found = await told(f, 0)
        assert found.verdict.status == "pass"
        assert found.as_stored_now == Verdict("fail", "fail", 0, "rows_match")
        assert "By what is stored now it would be fail" in text(found)
        assert "none is of the kind" not in text(found)
        assert "answer of 2026-09-01T10:00:00Z." in text(found)


async def test_revisions_of_the_day(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        await f.store.write(
            lambda tx: tx.run(
                "INSERT INTO muster_revisions (control_no, device_no, first_day, last_day, revised_at, revised_seq,"
                " before_status, before_underlying_status, before_lapsed, before_reason, after_status,"
                " after_underlying_status, after_lapsed, after_reason, cause, detail)"
                " SELECT control_no, ?, '2026-09-01', '2026-09-02', '2026-09-05T08:00:00Z', 1, 'stale', 'stale', 0,"
                " 'too_old', 'pass', 'pass', 0, NULL, 'late_data', 'answers to users' FROM muster_controls"
                " WHERE control = ?",
                (laptop.device_no, CONTROL),
            )
        )
        (revision,) = (await told(f, 0)).revisions
        assert (revision.before, revision.after) == (
            Verdict("stale", "stale", 0, "too_old"),
            Verdict("pass", "pass", 0, None),
        )
        before = "stale (the last answer is from before the days that count)"
        assert f"5 Sep 2026, 08:00 UTC: {before} → pass, because data came late" in text(await told(f, 0))


async def test_late_data_that_was_judged_has_left_a_revision(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0)
        await f.users(laptop, 0, 10, ROOT, TOOR)
        await f.judge(0)
        found = await told(f, 0)
        assert (found.verdict.status, found.as_stored_now) == ("fail", None)
        (revision,) = found.revisions
        assert revision.before is not None and revision.before.status == "pass"
        after = "fail (at least one row is of the kind that must not be there)"
        assert f"pass → {after}, because data came late" in text(found)


async def test_a_new_device_is_let_to_settle(tmp_path: Path) -> None:
    patient = replace(CATALOG, fleet=CATALOG.fleet.model_copy(update={"new_device_grace_days": 3}))
    async with open_store(tmp_path, patient, clock=lambda: float(MIDNIGHT + 14 * DAY)) as store:
        f = Fleet(store)
        laptop = await add_device(store, "laptop")
        await f.users(laptop, 0, 9, ROOT, TOOR)
        await f.judge(0)
        verdict = "status = 'not_applicable', underlying_status = 'not_applicable', reason = 'new_device'"
        await store.write(lambda tx: tx.run(f"UPDATE muster_verdicts SET {verdict}"))
        found = await told(f, 0)
        assert (found.verdict.reason, found.as_stored_now) == ("new_device", None)
        assert "in scope since 1 Sep 2026, 09:00 UTC. New ones are let to settle for 3 days" in text(found)


async def test_the_newest_day_with_a_verdict_is_the_default(tmp_path: Path) -> None:
    async with fleet(tmp_path) as f:
        laptop = await add_device(f.store, "laptop")
        await f.users(laptop, 0, 9, ROOT)
        await f.judge(0, 1, 2)
        found = await explain(f.store, Question("laptop", CONTROL))
        assert (found.day.day, found.day.previous, found.day.following) == ("2026-09-03", "2026-09-02", None)
        at_noon = iso(MIDNIGHT + DAY + 12 * HOUR)
        await f.store.write(lambda tx: tx.run("UPDATE muster_devices SET retired_at = ?", (at_noon,)))
        await evaluate(f.store, date(2026, 9, 3), date(2026, 9, 3))
        assert (await explain(f.store, Question("laptop", CONTROL))).day.day == "2026-09-02"
