"""What strangers and broken agents send: a definite answer each, a reject where an enrolled device sent it, no 5xx."""

from __future__ import annotations

import gzip
import http.client
import json
import time
import zlib
from functools import cache

import pytest

from server.normalize.times import unix
from server.wire.limits import ENDPOINTS, MIB
from tests.support.server import Peer, Server, ask, snapshot_line


@pytest.fixture
def peer(running: tuple[Server, dict[str, str]], own_name: str) -> Peer:
    """An enrolled device of its own for each test."""
    peer = Peer(running[0], running[1]["enroll_secret"])
    peer.enroll(system_info={"uuid": f"uuid {own_name}", "hostname": own_name[:200]})
    return peer


def rejects(server: Server, hostname: str) -> list[list[str]]:
    name = hostname[:200].replace("'", "''")
    return ask(server.database, f"SELECT query, reason, sample FROM rejects WHERE hostname = '{name}'")


OSQUERYS = sorted(name for name in ENDPOINTS if not name.startswith("collector/"))
BODIES = [b"", b"{", b"7", b'"ok"', b"null", b"true", b"[]", b"[1, 2", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 5000]


@pytest.mark.parametrize("endpoint", OSQUERYS)
@pytest.mark.parametrize("body", BODIES, ids=[repr(body[:12]) for body in BODIES])
def test_odd_bodies_get_an_object_with_an_error_or_a_new_enrolment(server: Server, endpoint: str, body: bytes) -> None:
    answer = server.post(endpoint, body)
    if endpoint == "carve/block":
        assert answer == {}
    else:
        assert "error" in answer or answer.get("node_invalid") is True


@pytest.mark.parametrize("endpoint", [name for name in OSQUERYS if name not in ("enroll", "carve/block")])
@pytest.mark.parametrize("key", ["", "unknown", "x" * 5000, "'; DROP TABLE devices; --", "\u0000", None, 7])
def test_a_key_that_is_not_in_use_makes_osquery_enrol_again(server: Server, endpoint: str, key: object) -> None:
    body = json.dumps({"node_key": key, "log_type": "result", "data": []}).encode()
    assert server.post(endpoint, body) == {"node_invalid": True}


@pytest.mark.parametrize("secret", ["", "wrong", None, 7, {"a": 1}, "x" * 100_000])
def test_a_wrong_secret_gets_no_key(server: Server, secret: object) -> None:
    answer = server.post("enroll", json.dumps({"enroll_secret": secret, "host_identifier": "h"}).encode())
    assert "error" in answer
    assert "node_key" not in answer


@pytest.mark.parametrize("field", ["host_identifier", "platform_type", "host_details"])
@pytest.mark.parametrize("value", [None, 7, [], {}, "x" * 70_000, "\u0000\ud800"])
def test_an_odd_enrolment_with_the_right_secret_still_enrols(
    running: tuple[Server, dict[str, str]], field: str, value: object
) -> None:
    server, made = running
    body = {"enroll_secret": made["enroll_secret"], "host_identifier": "h", "platform_type": "9", field: value}
    answer = server.post("enroll", json.dumps(body).encode())
    assert answer["node_key"]


def test_a_body_of_broken_lines_keeps_the_good_one(server: Server, peer: Peer) -> None:
    now = int(time.time())
    good = snapshot_line("folks", now, [{"who": "good"}])
    lines = [7, None, {"name": "folks"}, {**good, "unixTime": "soon"}, {**good, "snapshot": [7]}, good]
    assert peer.log(*lines) == {}  # type: ignore[arg-type]
    stored = ask(
        server.database,
        "SELECT who FROM folks p JOIN devices d USING (device_id) WHERE d.hostname LIKE '%keeps_the_good%'",
    )
    assert stored == [["good"]]
    found = rejects(server, "test_a_body_of_broken_lines_keeps_the_good_one")
    assert len(found) == 5
    assert all(reason for _, reason, _ in found)


def test_a_body_that_is_not_json_is_set_aside_and_not_asked_for_again(server: Server, peer: Peer) -> None:
    headers = {"Authorization": f"NodeKey {peer.node_key}"}
    assert server.post("log", b"not json at all", headers) == {}
    assert len(rejects(server, "test_a_body_that_is_not_json_is_set_aside_and_not_asked_for_again")) == 1


def test_a_sample_is_capped(server: Server, peer: Peer) -> None:
    assert peer.log({"name": "x", "unixTime": 1, "junk": "y" * 100_000}) == {}
    found = rejects(server, "test_a_sample_is_capped")
    assert len(found) == 1
    assert len(found[0][2]) <= 1000


@cache
def bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * (16 * MIB)) for _ in range(40)) + packer.flush()


def test_gzip_that_inflates_without_end(server: Server, peer: Peer) -> None:
    headers = {"Content-Encoding": "gzip", "Authorization": f"NodeKey {peer.node_key}"}
    assert server.post("log", bomb(), headers) == {}
    assert "inflates past" in rejects(server, "test_gzip_that_inflates_without_end")[0][1]
    assert "error" in server.post("log", bomb(), {"Content-Encoding": "gzip"})


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x" * 1000])
def test_encodings_osquery_never_uses(server: Server, encoding: str) -> None:
    assert "error" in server.post("log", b"x", {"Content-Encoding": encoding})


def test_a_body_over_its_limit_is_answered(server: Server, peer: Peer) -> None:
    body = b" " * (ENDPOINTS["config"].body + 1)
    assert "error" in server.post("config", body)
    huge = b" " * (ENDPOINTS["log"].body + 1)
    assert server.post("log", huge, {"Authorization": f"NodeKey {peer.node_key}"}) == {}
    assert "larger than" in rejects(server, "test_a_body_over_its_limit_is_answered")[0][1]


def test_text_that_databases_refuse(server: Server, peer: Peer) -> None:
    now = int(time.time())
    odd = [{"who": "NUL in \u0000 the middle"}, {"who": "lone \ud800 surrogate"}, {"who": "MARK"}]
    lines = [snapshot_line("odd_text", now, odd)]
    raw = json.dumps({"node_key": peer.node_key, "log_type": "result", "data": lines}).encode()
    assert server.post("log", raw.replace(b"MARK", b"bytes \xff\xfe")) == {}
    assert ask(server.database, "SELECT who FROM odd_text ORDER BY 1") == [
        ["NUL in \ufffd the middle"],
        ["bytes \ufffd\ufffd"],
        ["lone \ufffd surrogate"],
    ]


def test_numbers_beyond_64_bits_are_kept_as_they_came(server: Server, peer: Peer) -> None:
    line = snapshot_line("big_numbers", int(time.time()), [{"small": 7, "big": 2**70, "edge": 2**63 - 1}])
    line["numerics"] = True
    assert peer.log(line) == {}
    assert ask(server.database, "SELECT small, big, edge, _misfit FROM big_numbers") == [
        [7, None, 2**63 - 1, json.dumps({"big": str(2**70)}, separators=(",", ":"))]
    ]


@pytest.mark.parametrize("seconds", [0, -1, 1, 2**40, -(2**62), 2**62])
def test_impossible_times_are_set_aside(server: Server, peer: Peer, seconds: int, own_name: str) -> None:
    assert (
        peer.log(snapshot_line("absurd", seconds, [{"a": "1"}]), snapshot_line("absurd_ok", int(time.time()), [])) == {}
    )
    found = rejects(server, own_name)
    # A dead clock shows 1970 or so: what it dates is dated by its arrival.
    assert [query for query, _, _ in found] == ([] if abs(seconds) <= 1 else ["absurd"])


def test_next_year_is_dated_by_its_arrival_and_flagged(server: Server, peer: Peer) -> None:
    sent = int(time.time())
    for _ in range(2):
        assert peer.snapshot("next_year", sent + 366 * 86_400, [{"a": "1"}]) == {}
    ((first, last),) = ask(server.database, "SELECT first_at, last_at FROM coverage WHERE query = 'next_year'")
    assert first == last and sent <= unix(first) <= time.time()
    flagged = ask(
        server.database,
        "SELECT ahead, basis FROM clock_stretches"
        " WHERE hostname = 'test_next_year_is_dated_by_its_arrival_and_flagged'",
    )
    assert flagged == [[sent + 366 * 86_400 - unix(first), "received"]]


def test_a_query_nobody_shipped_has_a_table_and_is_marked(server: Server, peer: Peer) -> None:
    peer.snapshot("Odd Name; DROP TABLE x", int(time.time()), [{"Some Column": "v"}])
    assert ask(server.database, "SELECT some_column FROM odd_name__drop_table_x") == [["v"]]


def test_what_a_body_claims_of_its_host_is_not_believed(server: Server, peer: Peer) -> None:
    line = snapshot_line("claims", int(time.time()), [{"a": "1"}])
    line["hostIdentifier"] = "somebody-else"
    peer.log(line)
    name = "test_what_a_body_claims_of_its_host_is_not_believed"
    assert ask(server.database, "SELECT hostname FROM claims") == [[name]]


def test_methods_and_paths_that_are_not_there(server: Server) -> None:
    for method, path in (("GET", "/api/osquery/log"), ("PUT", "/api/v1/osquery/config"), ("POST", "/api/osquery/nope")):
        status, body = server.request(method, path)
        assert status in (404, 405)
        assert "error" in json.loads(body)


def test_the_older_prefix_works_too(server: Server, peer: Peer) -> None:
    body = json.dumps({"node_key": peer.node_key}).encode()
    status, answer = server.request("POST", "/api/v1/osquery/config", body)
    assert status == 200
    assert "packs" in json.loads(answer)


def test_a_request_cut_in_the_middle_leaves_nothing(server: Server, peer: Peer) -> None:
    body = json.dumps(
        {"node_key": peer.node_key, "log_type": "result", "data": [snapshot_line("cut", int(time.time()), [])]}
    ).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.putrequest("POST", "/api/osquery/log")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:-10])
    connection.close()
    assert server.post("log", body) == {}
    assert ask(server.database, "SELECT COUNT(*) FROM coverage WHERE query = 'cut'") == [[1]]


def test_gzip_of_real_lines_is_stored(server: Server, peer: Peer) -> None:
    body = {
        "node_key": peer.node_key,
        "log_type": "result",
        "data": [snapshot_line("zipped", int(time.time()), [{"a": "1"}])],
    }
    packed = gzip.compress(json.dumps(body).encode())
    assert server.post("log", packed, {"Content-Encoding": "gzip"}) == {}
    assert ask(server.database, "SELECT a FROM zipped") == [["1"]]


def test_the_server_is_well_after_all_this(server: Server) -> None:
    assert server.request("GET", "/healthz")[0] == 200
    assert server.request("GET", "/readyz")[0] == 200
