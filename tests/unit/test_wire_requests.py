"""Enrolment and the small requests; and the answers, which must always be JSON objects."""

import json

import pytest

from server.normalize.devices import facts_of, platform_of
from server.wire import answers
from server.wire.body import BadBodyError
from server.wire.requests import node_key_of, parse_enrollment, parse_object
from tests.support import recorded


def test_a_real_enrolment() -> None:
    request = next(request for request in recorded.requests("s1a_enroll_good") if request.endpoint == "enroll")
    facts = facts_of(parse_enrollment(request.body))
    assert facts.platform == "linux"
    assert facts.os_name == "Debian GNU/Linux"
    assert facts.osquery_version.startswith("5.23.0")
    assert facts.identity.endswith("|")


@pytest.mark.parametrize("raw", [b"[]", b"7", b"null", b'"x"', b"", b"{"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadBodyError):
        parse_object(raw)


@pytest.mark.parametrize("details", [None, 7, [], "x", {"system_info": 7}, {"system_info": {"uuid": 7}}])
def test_odd_details_are_no_details(details: object) -> None:
    facts = facts_of(parse_enrollment(json.dumps({"host_identifier": "h", "host_details": details}).encode()))
    assert facts.hostname == "h"
    assert facts.identity == ""


@pytest.mark.parametrize(
    ("mask", "platform"),
    [("9", "linux"), ("21", "darwin"), ("2", "windows"), ("1", ""), ("", ""), ("x", ""), ("²", "")],
)
def test_platform_masks(mask: str, platform: str) -> None:
    assert platform_of(mask) == platform


def test_a_placeholder_uuid_or_serial_is_no_identity() -> None:
    def identity(uuid: str, serial: str) -> str:
        details = {"system_info": {"uuid": uuid, "hardware_serial": serial}}
        return facts_of(parse_enrollment(json.dumps({"host_details": details}).encode())).identity

    assert identity("03000200-0400-0500-0006-000700080009", "C02X") == ""
    assert identity("A-UUID", "To Be Filled By O.E.M.") == identity("a-uuid", "")
    assert identity("A-UUID", "C02X") != identity("A-UUID", "C02Y")


def test_the_key_comes_from_the_body_or_the_header() -> None:
    assert node_key_of("NodeKey abc", {}) == "abc"
    assert node_key_of("NodeKey abc", {"node_key": "body"}) == "body"
    assert node_key_of("Bearer abc", {}) == ""
    assert node_key_of("", {"node_key": 7}) == ""


@pytest.mark.parametrize(
    "answer",
    [answers.OK, answers.NODE_INVALID, answers.NO_QUERIES, answers.error('say "what"'), answers.enrolled("k")],
)
def test_every_answer_is_a_json_object(answer: bytes) -> None:
    assert isinstance(json.loads(answer), dict)


def test_only_an_error_makes_osquery_keep_its_data() -> None:
    assert "error" in json.loads(answers.error("x"))
    assert "error" not in json.loads(answers.OK)
    assert json.loads(answers.NODE_INVALID)["node_invalid"] is True
