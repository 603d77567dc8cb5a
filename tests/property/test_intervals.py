"""The law of intervals: what is known is a function of the answers, not of the order they came in."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from server.normalize.rows import Identity
from server.store.intervals import Interval, plan

Answers = Mapping[str, frozenset[Identity]]

IDENTITIES = st.tuples(st.sampled_from("abcd"), st.integers(0, 1))
ANSWERS = st.dictionaries(st.integers(10, 30).map(str), st.frozensets(IDENTITIES, max_size=5), min_size=1, max_size=10)


def expected(answers: Answers) -> set[Interval]:
    """The intervals by their definition, computed plainly."""
    found: set[Interval] = set()
    instants = sorted(answers)
    for identity in {identity for bag in answers.values() for identity in bag}:
        start: str | None = None
        for at in instants:
            if identity in answers[at]:
                start = start or at
            elif start:
                found.add(Interval(identity, start, at))
                start = None
        if start:
            found.add(Interval(identity, start, None))
    return found


def apply(known: set[Interval], answers: dict[str, frozenset[Identity]], at: str, bag: frozenset[Identity]) -> None:
    """One answer more, as the store does it."""
    until = min((instant for instant in answers if instant > at), default=None)
    touching = {i for i in known if i.valid_to is None or i.valid_to >= at}
    if until is None and at not in answers:
        touching = {i for i in touching if i.valid_to is None}
    change = plan(touching, at, until, bag)
    known -= {*change.close, *change.supersede}
    known |= {interval._replace(valid_to=at) for interval in change.close} | set(change.insert)
    answers[at] = bag


@given(ANSWERS, st.randoms(use_true_random=False))
def test_any_order_of_arrival_ends_in_the_same_intervals(answers: Answers, random: object) -> None:
    order = sorted(answers)
    random.shuffle(order)  # type: ignore[attr-defined]
    known: set[Interval] = set()
    seen: dict[str, frozenset[Identity]] = {}
    for at in order:
        apply(known, seen, at, answers[at])
        assert known == expected(seen)


@given(ANSWERS, st.data())
def test_an_answer_may_be_replaced_and_repeated(answers: Answers, data: st.DataObject) -> None:
    known: set[Interval] = set()
    seen: dict[str, frozenset[Identity]] = {}
    for at in sorted(answers):
        apply(known, seen, at, answers[at])
    at = data.draw(st.sampled_from(sorted(answers)))
    bag = data.draw(st.frozensets(IDENTITIES, max_size=5))
    apply(known, seen, at, bag)
    assert known == expected({**answers, at: bag})
    before = set(known)
    apply(known, seen, at, bag)
    assert known == before
