"""What the server says to a collector, and how its hello is read."""

from __future__ import annotations

import json

import pytest

from server.catalog.config import Configs
from server.catalog.targets import TargetedDevice
from server.wire import collector_messages as messages
from server.wire.body import BadBodyError
from server.wire.limits import QUESTIONS_QUEUED
from tests.support import packs
from tests.support.stores import shipped_catalog

DISCOVERED = {
    "one.yaml": "title: One\nqueries: {residents: }\ndiscovery: [SELECT 1, SELECT 2;]\n",
    "two.yaml": "title: Two\nqueries: {residents: {interval: 60}}\ndiscovery: [SELECT 3]\n",
    packs.PACK: None,
    packs.CONTROL: None,
}


@pytest.mark.parametrize("platform", ["linux", "darwin", "windows", ""])
def test_the_config_that_is_told_is_the_one_osquery_gets(platform: str) -> None:
    config = Configs(shipped_catalog()).of(TargetedDevice("", platform))
    told = json.loads(config.told.message)
    assert told["config"].encode() == config.body and told["hash"] == config.told.hash
    scheduled = {name for pack in json.loads(config.body)["packs"].values() for name in pack["queries"]}
    assert {query["name"] for query in told["queries"]} == scheduled
    for query in told["queries"]:
        assert (
            query["description"]
            and query["sql"]
            and query["columns"]
            and query["interval"] == (config.asked[query["query"]].interval)
        )
        assert query["judged"] == config.asked[query["query"]].judged
        assert not query["judged"] or query["controls"]


def test_a_config_is_made_once_and_equal_ones_have_one_hash() -> None:
    configs = Configs(shipped_catalog())
    one, same, other = (configs.of(TargetedDevice(name, platform)) for name, platform in
                        (("a", "linux"), ("b", "linux"), ("c", "darwin")))  # fmt: skip
    assert one.told is same.told and one.told.hash != other.told.hash
    assert Configs(shipped_catalog()).of(TargetedDevice("d", "linux")).told == one.told


def test_what_several_packs_find_by_discovery_is_one_condition() -> None:
    catalog = packs.content(DISCOVERED).load()
    (query,) = json.loads(Configs(catalog).of(TargetedDevice("", "linux")).told.message)["queries"]
    assert (
        query["discovery"] == ["SELECT 1 WHERE (EXISTS (SELECT 3)) OR (EXISTS (SELECT 1) AND EXISTS (SELECT 2))"]
        and query["interval"] == 60
    )
    one = packs.content(DISCOVERED | {"two.yaml": None}).load()
    (query,) = json.loads(Configs(one).of(TargetedDevice("", "linux")).told.message)["queries"]
    assert query["discovery"] == ["SELECT 1", "SELECT 2;"]


def test_a_hello_is_read_within_bounds() -> None:
    many = {"type": "hello", "queued": ["q"] * 5000 + [f"q{n}" for n in range(5000)], "policy": "p" * 9000}
    hello = messages.parse_message(json.dumps(many))
    assert hello is not None and hello.queued == {"q"} and QUESTIONS_QUEUED < 5000
    assert len(hello.policy) == messages.POLICY_CHARS and hello.backlog is None and not hello.serves_config
    assert messages.parse_message('{"type": "of a later version"}') is None
    for odd in ("", "1", "[]", "{}", '{"type": null}'):
        with pytest.raises(BadBodyError):
            messages.parse_message(odd)
