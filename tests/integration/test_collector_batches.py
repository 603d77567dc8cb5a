"""The collector's endpoints over HTTP: keys of its own, batches that count once, and an object for whatever comes."""

from __future__ import annotations

import gzip
import http.client
import json
import time
import zlib
from typing import Any

import pytest

from server.wire.limits import ENDPOINTS, LINES_A_BATCH, MIB
from tests.integration.test_bad_input import BODIES
from tests.support.collector_peer import CollectorPeer, new_id
from tests.support.server import Peer, Server, ask, muster_here, snapshot_line


def details(name: str) -> dict[str, dict[str, str]]:
    return {"system_info": {"uuid": f"uuid {name}", "hostname": name[:200]}}


@pytest.fixture
def collector(running: tuple[Server, dict[str, str]], own_name: str) -> CollectorPeer:
    """An enrolled collector on a device of its own."""
    peer = CollectorPeer(running[0], running[1]["enroll_secret"])
    assert peer.enroll(**details(own_name))[0] == 200
    return peer


@pytest.fixture
def osquery(running: tuple[Server, dict[str, str]], own_name: str, collector: CollectorPeer) -> Peer:
    """The osqueryd of the same machine, enrolled after its collector."""
    peer = Peer(running[0], running[1]["enroll_secret"])
    peer.enroll(**details(own_name))
    return peer


def event_line(name: str, at: int, row: dict[str, Any], counter: int = 0) -> dict[str, Any]:
    return {"name": name, "unixTime": at, "epoch": 0, "counter": counter, "action": "added", "columns": row}


def test_two_agents_are_one_device_with_a_key_each(server: Server, collector: CollectorPeer, osquery: Peer) -> None:
    name = "test_two_agents_are_one_device_with_a_key_each"
    now = int(time.time())
    assert collector.node_key != osquery.node_key
    assert collector.send(collector.batch(snapshot_line("told_by", now - 60, [{"via": "collector"}])))[0] == 200
    assert osquery.log(snapshot_line("told_by", now, [{"via": "osquery"}])) == {}
    assert ask(server.database, f"SELECT COUNT(*) FROM devices WHERE hostname = '{name}'") == [[1]]
    assert ask(server.database, f"SELECT via FROM told_by_history WHERE hostname = '{name}' ORDER BY valid_from") == [
        ["collector"],
        ["osquery"],
    ]
    assert ask(server.database, f"SELECT version FROM posture_collectors WHERE hostname = '{name}'") == [["0.1.0"]]


def test_a_key_is_no_good_on_the_other_agents_endpoints(collector: CollectorPeer, osquery: Peer) -> None:
    mine, theirs = collector.node_key, osquery.node_key
    collector.node_key, osquery.node_key = theirs, mine
    assert collector.send(collector.batch(snapshot_line("crossed", 1, []))) == (401, {"node_invalid": True})
    assert osquery.log(snapshot_line("crossed", 1, [])) == {"node_invalid": True}
    for endpoint in ("config", "distributed/read", "distributed/write"):
        sent = json.dumps({"node_key": mine}).encode()
        assert osquery.server.post(endpoint, sent) == {"node_invalid": True}


def test_enrolling_anew_ends_only_the_own_key(
    running: tuple[Server, dict[str, str]], own_name: str, collector: CollectorPeer, osquery: Peer
) -> None:
    again = CollectorPeer(running[0], running[1]["enroll_secret"])
    assert again.enroll(**details(own_name))[0] == 200
    assert collector.send(collector.batch(snapshot_line("anew", 1, []))) == (401, {"node_invalid": True})
    assert again.send(again.batch(snapshot_line("anew", int(time.time()), [])))[0] == 200
    assert osquery.log() == {}


def test_a_batch_counts_once(server: Server, collector: CollectorPeer) -> None:
    now = int(time.time())
    batch = collector.batch(*(event_line("counted", now, {"n": str(n)}) for n in range(3)))
    assert [collector.send(batch) for _ in range(3)] == [(200, {"taken": 3})] * 3
    assert ask(server.database, "SELECT COUNT(*) FROM counted") == [[3]]
    other = {**batch, "batch": {**batch["batch"], "id": new_id()}, "data": [event_line("counted", now, {"n": "4"})]}
    assert collector.send(other) == (409, {"diverged": True})
    assert ask(server.database, "SELECT COUNT(*) FROM counted") == [[3]]
    collector.spool = new_id()
    assert collector.send(collector.batch(event_line("counted", now, {"n": "4"})))[0] == 200
    assert ask(server.database, "SELECT COUNT(*) FROM counted") == [[4]]


def test_a_gap_and_a_backlog_are_shown(server: Server, collector: CollectorPeer) -> None:
    now = int(time.time())
    gap = {"name": "lost", "lines": 7, "bytes": 700, "first_at": now - 90, "last_at": now - 60, "reason": "full"}
    backlog = {"lines": 5, "bytes": 1234, "oldest_at": now - 30}
    batch = collector.batch(gaps=[{**gap, "dropped_at": now}], backlog=backlog)
    assert [collector.send(batch)[0] for _ in range(2)] == [200, 200]
    name = "test_a_gap_and_a_backlog_are_shown"
    assert ask(
        server.database, f"SELECT query, lines, bytes, reason FROM posture_collector_gaps WHERE hostname = '{name}'"
    ) == [["lost", 7, 700, "full"]]
    assert ask(
        server.database, f"SELECT backlog_lines, backlog_bytes FROM posture_collectors WHERE hostname = '{name}'"
    ) == [[5, 1234]]
    ((device_id,),) = ask(server.database, f"SELECT device_id FROM devices WHERE hostname = '{name}'")
    shown = muster_here("device", "show", device_id, "--database", server.database).stdout
    assert "0.1.0, 5 lines not delivered yet, 7 lines lost, last of" in shown
    found = json.loads(muster_here("device", "show", device_id, "--database", server.database, "--json").stdout)
    assert (found["collector"]["gaps"], found["collector"]["lost_reason"]) == (1, "full")


@pytest.mark.parametrize("path", ["enroll", "batch"])
@pytest.mark.parametrize("body", BODIES, ids=[repr(body[:12]) for body in BODIES])
def test_odd_bodies_are_refused_for_good(collector: CollectorPeer, path: str, body: bytes) -> None:
    status, answer = collector.post(path, body, collector.authorization)
    assert status == 400
    assert answer["error"]


GOOD: dict[str, Any] = {"id": "a" * 32, "spool": "b" * 32, "lane": "log", "after": 0, "through": 1}
ODD_VALUES: list[Any] = [None, True, 7.5, "x", [], {}, [[]], 2**70, -1, "\u0000\ud800", "A" * 32]


@pytest.mark.parametrize("part", sorted(GOOD))
def test_odd_marks_are_refused_for_good(collector: CollectorPeer, part: str) -> None:
    for odd in [*ODD_VALUES, *([0] if part == "through" else [1] if part == "after" else [0, 1])]:
        if odd == -1 or odd != GOOD[part]:
            status, answer = collector.send({"batch": {**GOOD, part: odd}, "data": []})
            assert (status, bool(answer.get("error"))) == (400, True), odd


@pytest.mark.parametrize("part", ["batch", "data", "answers", "gaps"])
def test_odd_parts_are_refused_for_good(collector: CollectorPeer, part: str) -> None:
    values: tuple[Any, ...] = (None, True, 7, "x", {})
    for odd in values:
        status, answer = collector.send({**collector.batch(count=1), part: odd})
        assert (status, bool(answer.get("error"))) == (400, True), odd


def test_odd_lines_answers_and_gaps_cost_only_themselves(server: Server, collector: CollectorPeer) -> None:
    odd: list[Any] = [*ODD_VALUES, {"name": "x", "unixTime": "soon"}]
    gap = {"name": "g", "lines": 1, "bytes": 1, "first_at": 2**62, "last_at": -(2**62), "reason": "full"}
    gaps: list[Any] = [gap, {**gap, "lines": "many"}, {**gap, "name": "n" * 600}, {**gap, "first_at": None}]
    answers: list[Any] = [
        {"id": "muster_ask_1790000000_1_users@x", "status": "answered", "rows": [{"a": "b"}]},
        {"id": "x", "status": "answered", "rows": [{"a": {"b": 1}}]},
        {"id": "x", "status": "answered", "rows": 7},
        {"id": "x", "status": 7},
        {"id": "", "status": "failed", "message": ["x"]},
        {"id": "x", "status": "cancelled"},
    ]
    good = snapshot_line("among_odd", int(time.time()), [{"a": "1", "big": 2**70}])
    backlog = {"lines": -(2**70), "bytes": None, "oldest_at": 2**62}
    batch = collector.batch(*odd, good, answers=[*answers, *odd], gaps=[*gaps, *odd], backlog=backlog)
    assert collector.send(batch)[0] == 200
    assert ask(server.database, "SELECT a FROM among_odd") == [["1"]]
    name = "test_odd_lines_answers_and_gaps_cost_only_themselves"
    assert ask(server.database, f"SELECT query, lines FROM posture_collector_gaps WHERE hostname = '{name}'") == [
        ["g", 1]
    ]
    reasons = [row[0] for row in ask(server.database, f"SELECT reason FROM rejects WHERE hostname = '{name}'")]
    assert len(reasons) > len(odd)


def test_what_nests_too_deep_and_bytes_that_are_not_utf8(server: Server, collector: CollectorPeer) -> None:
    deep = json.dumps(collector.batch(count=1)).replace('"data": []', '"data": ' + "[" * 5000 + "]" * 5000)
    assert collector.post("batch", deep.encode(), collector.authorization)[0] == 400
    batch = json.dumps(collector.batch(snapshot_line("not_utf8", int(time.time()), [{"file": "MARK"}])))
    raw = batch.encode().replace(b"MARK", b"bad-\xff\xfe")
    assert collector.post("batch", raw, collector.authorization)[0] == 200
    assert ask(server.database, "SELECT file FROM not_utf8") == [["bad-\ufffd\ufffd"]]


def test_sizes_that_are_refused(collector: CollectorPeer) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b" " * (16 * MIB)) for _ in range(6)) + packer.flush()
    packed = {**collector.authorization, "Content-Encoding": "gzip"}
    assert collector.post("batch", bomb, packed)[0] == 400
    assert collector.post("batch", b"no gzip", packed)[0] == 400
    assert collector.post("batch", gzip.compress(b"{}")[:-4], packed)[0] == 400
    assert collector.post("batch", b"{}", {**collector.authorization, "Content-Encoding": "br"})[0] == 400
    huge = b" " * (ENDPOINTS["collector/batch"].body + 1)
    assert collector.post("batch", huge, collector.authorization)[0] == 413
    many = collector.batch(*({"unixTime": 1, "severity": 0} for _ in range(LINES_A_BATCH + 1)))
    assert collector.send(many)[0] == 413


@pytest.mark.parametrize("key", ["", "unknown", "x" * 5000, "'; DROP TABLE devices; --"])
def test_a_key_that_is_not_in_use(collector: CollectorPeer, key: str) -> None:
    collector.node_key = key
    assert collector.send(collector.batch(count=1)) == (401, {"node_invalid": True})


@pytest.mark.parametrize("secret", ["", "wrong", None, 7, {"a": 1}, "x" * 100_000])
def test_a_wrong_secret_gets_no_key(server: Server, secret: Any) -> None:
    status, answer = CollectorPeer(server, secret).enroll(**details("stranger"))
    assert status == 401
    assert set(answer) == {"error"}


def test_an_enrolment_that_tells_of_no_machine_makes_no_device(
    running: tuple[Server, dict[str, str]],
) -> None:
    status, answer = CollectorPeer(running[0], running[1]["enroll_secret"]).enroll()
    assert (status, set(answer)) == (400, {"error"})


def test_paths_and_methods_that_are_not_there(server: Server) -> None:
    for method, path in (("GET", "batch"), ("PUT", "enroll"), ("POST", "nope"), ("POST", "")):
        status, body = server.request(method, f"/api/collector/{path}")
        assert status in (404, 405)
        assert set(json.loads(body)) == {"error"}


def test_a_batch_cut_in_the_middle_leaves_nothing(server: Server, collector: CollectorPeer) -> None:
    raw = json.dumps(collector.batch(event_line("cut_batch", int(time.time()), {"n": "1"}))).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", "/api/collector/batch")
    for name, value in {**collector.authorization, "Content-Length": str(len(raw))}.items():
        connection.putheader(name, value)
    connection.endheaders(raw[:-20])
    connection.close()
    assert collector.post("batch", raw, collector.authorization)[0] == 200
    assert ask(server.database, "SELECT n FROM cut_batch") == [["1"]]
