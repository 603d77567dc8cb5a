"""What the simulator expects of a judge: every status, on whatever day of the week a demo begins."""

from __future__ import annotations

from datetime import date

import pytest

from server.catalog.catalog import Catalog
from server.catalog.config import config_body
from server.simulate.answers import AnswerBook
from server.simulate.company import Company
from server.simulate.device import PARTS, Device, make_device
from server.simulate.ledger import Ledger
from server.simulate.presence import DAY, Span, rounds
from server.simulate.runner import Runner
from server.simulate.truth import JUDGED, Exempted, Expected, Judge, worth_exempting
from tests.support.stores import shipped_catalog

MONDAY = 20_600 - 2


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return shipped_catalog()


def lived(catalog: Catalog, book: AnswerBook, device: Device, span: Span) -> Ledger:
    runner = Runner(device, span, book)
    runner.configure(config_body(catalog, device.platform), span.first * DAY)
    for day in range(span.first, span.first + span.days):
        for now in rounds(device, span, day):
            runner.run_all(now, keep=False)
    assert len(runner.buffer) == 0
    return runner.ledger


def fleet_truth(catalog: Catalog, book: AnswerBook, span: Span, exempted: tuple[Exempted, ...] = ()) -> list[Expected]:
    found: list[Expected] = []
    for index in range(len(PARTS)):
        device = make_device(1, index)
        ledger = lived(catalog, book, device, span)
        found += Judge(catalog, Company(), span.first, span.first + span.days - 1, exempted).expected(device, ledger)
    return found


def test_every_control_of_the_packs_has_an_expectation(catalog: Catalog) -> None:
    assert {loaded.control_id for loaded in catalog.judged()} == JUDGED


@pytest.mark.parametrize("weekday", range(7))
def test_every_status_occurs_whenever_the_demo_begins(catalog: Catalog, weekday: int) -> None:
    span = Span(MONDAY + weekday, 8)
    found = fleet_truth(catalog, AnswerBook(catalog.schema), span)
    assert len(found) == len(PARTS) * 8 * len(JUDGED)
    statuses = {entry.status for entry in found}
    assert statuses == {"pass", "fail", "stale", "no_data", "error", "not_applicable"}
    whys = " ".join(entry.why for entry in found)
    for why in (
        "denylisted",
        "failed when",
        "had not joined",
        "nothing of this platform",
        "ever touched",
        "not awake",
    ):
        assert why in whys, why


def test_an_exemption_covers_its_days_and_keeps_what_lies_below(catalog: Catalog) -> None:
    span, book = Span(MONDAY, 8), AnswerBook(catalog.schema)
    first, last = date.fromordinal(date(1970, 1, 1).toordinal() + MONDAY + 2), date(2099, 1, 1)
    chosen = worth_exempting(fleet_truth(catalog, book, span), ("system-volume-encrypted",), first, last)
    (exempted,) = chosen
    mine = [
        entry
        for entry in fleet_truth(catalog, book, span, chosen)
        if (entry.device, entry.control) == (exempted.hostname, exempted.control)
    ]
    assert [entry.status == "exempt" for entry in mine] == [entry.day >= first.isoformat() for entry in mine]
    assert any("it would be fail" in entry.why for entry in mine)


def test_the_same_seed_gives_the_same_truth(catalog: Catalog) -> None:
    span = Span(MONDAY, 4)
    first, second = (fleet_truth(catalog, AnswerBook(catalog.schema), span) for _ in range(2))
    assert first == second
