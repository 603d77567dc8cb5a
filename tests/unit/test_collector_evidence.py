"""The day's evidence: once a day of the fleet, at the first occasion, and never to osqueryd's harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collector.evidence.asked import read_queries, read_schedule, without_pack
from collector.evidence.calendar import read_calendar
from collector.evidence.occasions import log_ins
from collector.osqueryd import QueryResult
from collector.spool import Line
from tests.support.evidencing import Laptop, calendar, instant, query

TWO = [query("disk@0123456789"), query("users@0123456789", "SELECT 2 AS two")]
NAMES = ["disk@0123456789", "users@0123456789"]


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    return Laptop(tmp_path / "spool.db", instant("2026-06-10 09:00"), TWO, calendar("2026-06-10"))


async def test_it_is_taken_once_a_day(laptop: Laptop) -> None:
    rounds = await laptop.awake(60)
    assert [str(done) for done in rounds] == ["2 taken"]
    assert laptop.snapshots() == NAMES
    asked = len(laptop.osqueryd.asked)
    await laptop.awake(8 * 3600)
    assert len(laptop.osqueryd.asked) == asked, "osqueryd is left alone"
    laptop.restart()
    await laptop.awake(600)
    assert laptop.snapshots() == []
    await laptop.awake(7 * 3600)  # past midnight
    assert laptop.snapshots() == NAMES


async def test_a_line_is_as_osquery_writes_it(laptop: Laptop) -> None:
    await laptop.awake(30)
    line = laptop.lines()[1]
    assert json.loads(line.text) == {
        "snapshot": [{"two": "2"}],
        "action": "snapshot",
        "name": "users@0123456789",
        "hostIdentifier": "laptop",
        "calendarTime": "Wed Jun 10 07:00:15 2026 UTC",
        "unixTime": instant("2026-06-10 09:00") + 15,
        "epoch": 0,
        "counter": 0,
        "numerics": False,
        "decorations": {"muster_uuid": "UUID-1", "muster_serial": "SERIAL-1"},
    } | {key: json.loads(line.text)[key] for key in ("calendarTime", "unixTime")}
    assert json.loads(line.text)["calendarTime"].startswith("Wed Jun 10 07:00:")
    assert json.loads(line.text)["calendarTime"].endswith(" 2026 UTC")
    assert line.at == json.loads(line.text)["unixTime"]


async def test_nothing_without_a_calendar_or_a_config(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path / "spool.db", instant("2026-06-10 09:00"), TWO, None)
    assert await laptop.awake(3600) == []
    assert laptop.osqueryd.asked == []
    laptop.spool.keep("hello", b'{"calendar": "soon"}')
    assert await laptop.awake(3600) == []
    laptop.spool.keep("hello", calendar("2026-06-10"))
    await laptop.awake(60)
    assert laptop.snapshots() == NAMES, "and at once when it is known"
    laptop.spool.forget("config")
    laptop.sleep(86_400)
    assert [str(done) for done in await laptop.awake(60)] == ["nothing to take"]


async def test_a_laptop_asleep_for_four_days(laptop: Laptop) -> None:
    await laptop.awake(60)
    laptop.lines()
    laptop.sleep(4 * 86_400)
    rounds = await laptop.awake(30)
    assert [str(done) for done in rounds] == ["2 taken"], "within half a minute of waking"
    laptop.sleep(3600)
    await laptop.awake(600)
    assert laptop.snapshots() == NAMES


async def test_who_is_awake_at_midnight_takes_a_moment_of_its_own(laptop: Laptop) -> None:
    laptop.wall = float(instant("2026-06-10 23:58"))
    await laptop.awake(60)
    laptop.lines()
    await laptop.awake(180)
    assert laptop.snapshots() == [], "not all devices at once"
    await laptop.awake(300)
    assert laptop.snapshots() == NAMES


@pytest.mark.parametrize(
    ("first", "days"),
    [("2026-03-27", 5), ("2026-10-23", 5), ("2026-06-01", 30)],
    ids=["spring", "autumn", "beyond the calendar"],
)
async def test_each_day_once(tmp_path: Path, first: str, days: int) -> None:
    laptop = Laptop(tmp_path / "spool.db", instant(f"{first} 00:10"), TWO[:1], calendar(first))
    taken: list[int] = []
    for _ in range(days * 24 * 2):
        laptop.pass_time(1790)
        await laptop.awake(10)
        taken += [line.at for line in laptop.lines()]
    told = read_calendar(calendar(first, days + 2))
    assert told is not None
    dates = [day.day for at in taken if (day := told.day_at(at))]
    assert len(dates) >= days
    assert dates == sorted(set(dates)), "every day, and none twice"


async def test_a_clock_set_back(laptop: Laptop) -> None:
    await laptop.awake(60)
    assert laptop.snapshots() == NAMES
    laptop.sleep(-2 * 3600)
    await laptop.awake(60)
    assert laptop.snapshots() == [], "it is the same day"
    laptop.sleep(-40 * 86_400)
    await laptop.awake(60)
    assert laptop.snapshots() == NAMES, "another day, as far as one can tell"
    laptop.wall = -5.0
    await laptop.awake(60)
    laptop.wall = 1e12
    await laptop.awake(60)


async def test_another_zone(laptop: Laptop) -> None:
    laptop.wall = float(instant("2026-06-10 08:00"))
    await laptop.awake(60)
    laptop.lines()
    laptop.spool.keep("hello", calendar("2026-06-09", zone="America/Los_Angeles"))
    laptop.evidence.stir()
    await laptop.awake(600)
    assert laptop.snapshots() == [], "what was taken is of today there, too"
    laptop.wall = float(instant("2026-06-10 09:30"))  # 00:30 there
    await laptop.awake(600)
    assert laptop.snapshots() == NAMES


async def test_what_the_schedule_ran_today_is_done(laptop: Laptop) -> None:
    now = instant("2026-06-10 08:00")
    laptop.osqueryd.do("INSERT INTO osquery_schedule VALUES ('pack/base/disk@0123456789', 3, ?, 0)", now)
    laptop.osqueryd.do("INSERT INTO osquery_schedule VALUES ('users@0123456789', 3, ?, 0)", now - 86_400)
    await laptop.awake(60)
    assert laptop.snapshots() == ["users@0123456789"]
    laptop.osqueryd.do("DELETE FROM osquery_schedule")  # osqueryd began anew and has forgotten
    await laptop.evidence._round(everything=False)
    assert laptop.snapshots() == []


async def test_what_the_extension_spooled_today_is_done(laptop: Laptop) -> None:
    at = instant("2026-06-10 08:00")
    laptop.spool.put(
        [Line("snapshot", "pack_base_users@0123456789", at, b"{}"), Line("result", NAMES[0], at - 86_400, b"{}")]
    )
    laptop.lines()
    await laptop.awake(60)
    assert laptop.snapshots() == [NAMES[0]]


async def test_osqueryd_that_began_just_now_is_left_to_its_schedule(laptop: Laptop) -> None:
    now = instant("2026-06-10 09:00")
    laptop.osqueryd.do("UPDATE osquery_info SET start_time = ?", now - 5)
    laptop.osqueryd.do("INSERT INTO osquery_schedule VALUES ('pack/base/disk@0123456789', 0, 0, 0)")
    assert [str(done) for done in await laptop.awake(45)] == ["1 taken, 1 left for later"]
    assert laptop.snapshots() == ["users@0123456789"]
    await laptop.awake(120)
    assert laptop.snapshots() == ["disk@0123456789"], "it did not run it"


async def test_what_is_denylisted_is_never_asked(laptop: Laptop) -> None:
    laptop.osqueryd.do("INSERT INTO osquery_schedule VALUES ('pack/base/disk@0123456789', 0, 0, 1)")
    rounds = await laptop.awake(60)
    assert [str(done) for done in rounds] == ["1 taken, 1 denylisted by osqueryd"]
    assert (await laptop.evidence.evidence_now()).denylisted == 1
    assert TWO[0]["sql"] not in laptop.osqueryd.asked


async def test_events_and_what_no_control_judges_are_left(laptop: Laptop) -> None:
    laptop.configure([query("a", mode="events"), query("b", judged=False), query("c"), {"name": 5}, "x"])  # type: ignore[list-item]
    await laptop.awake(60)
    assert laptop.snapshots() == ["c"]


async def test_discovery(laptop: Laptop) -> None:
    has, none, broken = "SELECT 1 WHERE 1", "SELECT 1 WHERE 0", "SELECT 1 FROM nowhere"
    laptop.configure(
        [
            query("a", discovery=[has]),
            query("b", discovery=[has, none]),
            query("c", discovery=[broken]),
            query("d", discovery=[has]),
        ]
    )
    rounds = await laptop.awake(60)
    assert [str(done) for done in rounds] == ["2 taken, 2 not applicable"]
    assert laptop.snapshots() == ["a", "d"]
    assert laptop.osqueryd.asked.count(has) == 1, "asked once a round"


async def test_the_policy(laptop: Laptop) -> None:
    laptop.refused[TWO[0]["sql"]] = "it reads the table disk, which is denied"
    rounds = await laptop.awake(60)
    assert [str(done) for done in rounds] == ["1 taken, 1 refused by the device's policy"]
    assert TWO[0]["sql"] not in laptop.osqueryd.asked
    line = json.loads(laptop.lines()[0].text)
    assert (line["severity"], line["version"], line["hostIdentifier"]) == (2, "5.23.0", "laptop")
    assert line["message"] == (
        "Error executing scheduled query disk@0123456789: refused by the device's policy:"
        " it reads the table disk, which is denied"
    )
    laptop.marks = (2,)
    await laptop.awake(3600)
    assert laptop.lines() == [], "said once a day"
    laptop.sleep(86_400)
    await laptop.awake(60)
    assert [line.kind for line in laptop.lines()] == ["status", "snapshot"]


async def test_an_error_is_said_once_and_tried_again(laptop: Laptop) -> None:
    laptop.configure([query("late", "SELECT * FROM later")])
    rounds = await laptop.awake(4 * 3600)
    assert {str(done) for done in rounds} == {"1 failed"}
    assert 5 <= len(rounds) <= 10, "with growing pauses"
    (line,) = laptop.lines()
    assert json.loads(line.text)["message"] == "Error executing scheduled query late: no such table: later"
    laptop.osqueryd.do("CREATE TABLE later (x)")
    await laptop.awake(90)
    assert laptop.snapshots() == []
    laptop.marks = (2,)
    await laptop.awake(30)
    assert laptop.snapshots() == ["late"], "a log-in does not wait for the pause"


@pytest.mark.parametrize("occasion", ["wake", "log-in", "network"])
async def test_occasions(laptop: Laptop, occasion: str) -> None:
    laptop.osqueryd.gone = True
    rounds = await laptop.awake(2 * 3600)
    assert {done.problem for done in rounds} == {"osqueryd cannot be asked: no socket"}
    laptop.osqueryd.gone = False
    laptop.monotonic += 61  # since the last try, if there was one just now
    laptop.wall += 61
    if occasion == "wake":
        laptop.sleep(600)
    elif occasion == "log-in":
        laptop.marks = (2,)
    else:
        laptop.evidence.stir()
    await laptop.awake(30)
    assert laptop.snapshots() == NAMES


async def test_a_network_that_comes_and_goes_does_not_ask_without_end(laptop: Laptop) -> None:
    laptop.configure([query("late", "SELECT * FROM later")])
    rounds = 0
    for _ in range(240):
        laptop.evidence.stir()
        rounds += len(await laptop.awake(15))
    assert rounds <= 61, "once a minute at most"


async def test_osqueryd_that_ends_over_a_query(laptop: Laptop) -> None:
    laptop.osqueryd.deadly.add(TWO[0]["sql"])
    rounds = await laptop.awake(600)
    assert laptop.osqueryd.asked.count(TWO[0]["sql"]) == 1, "not again today"
    assert rounds[-1].complete
    lines = laptop.lines()
    assert [line.kind for line in lines] == ["status", "snapshot"], "and the other one is taken"
    assert b"osqueryd ended while it ran" in lines[0].text
    await laptop.evidence.evidence_now()
    assert laptop.osqueryd.asked.count(TWO[0]["sql"]) == 1
    laptop.sleep(86_400)
    await laptop.awake(600)
    assert laptop.osqueryd.asked.count(TWO[0]["sql"]) == 2


async def test_a_query_that_takes_too_long(laptop: Laptop) -> None:
    laptop.osqueryd.endless.add(TWO[0]["sql"])
    await laptop.awake(1200)
    assert laptop.osqueryd.asked.count(TWO[0]["sql"]) == 1
    assert [line.kind for line in laptop.lines()] == ["status", "snapshot"]


@pytest.mark.parametrize("osqueryd_too", [True, False])
async def test_killed_while_a_query_ran(laptop: Laptop, osqueryd_too: bool) -> None:
    class KilledError(BaseException):
        pass

    whole = laptop.osqueryd.query

    def killed(sql: str) -> QueryResult:
        if sql == TWO[0]["sql"]:
            raise KilledError
        return whole(sql)

    laptop.osqueryd.query = killed  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        await laptop.awake(60)
    laptop.osqueryd.query = whole  # type: ignore[method-assign]
    if osqueryd_too:
        laptop.osqueryd.do("UPDATE osquery_info SET pid = 7")
    laptop.restart()
    await laptop.awake(60)
    assert laptop.snapshots() == (NAMES[1:] if osqueryd_too else NAMES)


async def test_now(laptop: Laptop) -> None:
    await laptop.awake(60)
    laptop.lines()
    assert str(await laptop.evidence.evidence_now()) == "2 taken"
    assert laptop.snapshots() == NAMES
    laptop.osqueryd.gone = True
    done = await laptop.evidence.evidence_now()
    assert (done.complete, done.problem) == (False, "osqueryd cannot be asked: no socket")


async def test_a_new_version_of_a_query(laptop: Laptop) -> None:
    await laptop.awake(60)
    laptop.lines()
    laptop.configure([query("disk@9999999999"), TWO[1]])
    laptop.evidence.stir()
    await laptop.awake(60)
    assert laptop.snapshots() == ["disk@9999999999"]


def test_names() -> None:
    assert without_pack("pack/inventory/users@0f3a55d1c2") == "users@0f3a55d1c2"
    assert without_pack("pack_inventory_users@0f3a55d1c2") == "users@0f3a55d1c2"
    assert without_pack("packages") == "packages"
    assert without_pack("pack/odd") == "pack/odd"
    assert read_queries(b"no JSON") == read_queries(b"[]") == read_queries(b'{"queries": 7}') == []
    schedule = read_schedule(
        [{"name": "pack/a/q", "executions": "1", "last_executed": "9"}, {"name": "pack/b/q", "denylisted": "1"}]
    )
    assert (schedule.ran, set(schedule.denylisted)) == ({"q": 9}, {"q"})


@pytest.mark.parametrize(
    "note", [None, b"", b"{}", b"[]", b"null", b'{"calendar": []}', b'{"calendar": [{"day": "x"}]}']
)
def test_calendars_that_are_none(note: bytes | None) -> None:
    assert read_calendar(note) is None


def test_days_beyond_the_calendar() -> None:
    told = read_calendar(calendar("2026-06-10", zone="UTC"))
    assert told is not None
    for text in ("2026-06-01", "2026-06-09", "2026-06-10", "2026-06-23", "2026-06-24", "2027-01-01"):
        day = told.day_at(instant(f"{text} 12:00", "UTC"))
        assert day is not None
        assert (day.day, day.ends_at - day.starts_at) == (text, 86_400)
        assert told.day_at(day.starts_at) == day
    assert told.day_at(1e15) is None


def test_log_ins_are_looked_at() -> None:
    assert log_ins() == log_ins()
    assert any(log_ins()) or not Path("/run/systemd/sessions").exists()
