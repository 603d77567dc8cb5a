"""What was heard of a device and what is missing, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from server.evaluate.explained import Explanation, Missing, MissingAnswer, Observation
from server.report.words import OUTCOMES, moment, plural

_SAID = {
    "ok": "answered",
    "incomplete": "answered in part: a piece of the differential before it is missing",
    "error": "osquery said that the query failed",
    "denylisted": "osquery said that it has denylisted the query",
}
_HOUR = 3600


def observation_lines(it: Explanation) -> list[str]:
    """The last words of the device before the day's end, and when the next were expected."""
    several = len(it.observations) > 1
    return [line for said in it.observations for line in _observed(said, named=several)]


def _observed(said: Observation, *, named: bool) -> Iterator[str]:
    query = said.query
    at = moment(said.at) if said.exact else f"last kept {moment(said.at)}, and on until after the day"
    of = f"{query.query}: " if named else ""
    yield f"{of}{at}: {_SAID.get(said.status, said.status)}{_version(said, query.version)}."
    if said.message:
        yield f"osquery's words: {said.message}"
    if said.approximate:
        yield "That came so late that its instant is known only to within the gap the query allows."
    if said.first_at != said.last_at:
        kept = "It kept answering" if said.status == "ok" else "That went on"
        yield f"{kept} from {moment(said.first_at)} to {moment(said.last_at)}."
    if query.interval is None:
        yield f"No pack asks the device for {query.query} at an interval."
    elif said.next_expected_at:
        yield (
            f"{query.query} is asked every {seconds_words(query.interval)} while the device is awake: the next answer"
            f" was expected at {moment(said.next_expected_at)}."
        )


def _version(said: Observation, wanted: str) -> str:
    if said.status not in ("ok", "incomplete") or said.version == wanted:
        return ""
    return f" to version {said.version}" if said.version else " to a query of that name that is not ours"


def missing_lines(it: Explanation) -> list[str]:
    """What is known about answers that are not there, or do not count: the likeliest causes come first."""
    missing = it.missing
    if missing is None:
        return list(_enrolment(it)) if it.verdict.reason == "never_answered" else []
    lines = [*_enrolment(it)]
    if it.device.enrolled_at:
        lines += _presence(it, missing)
    for answer in missing.answers:
        if it.device.enrolled_at:
            lines += _versions(it, answer)
            lines += _asked(answer, missing)
        lines += _answers(answer)
    return lines + list(_config(it, missing))


def _enrolment(it: Explanation) -> Iterator[str]:
    if not it.device.enrolled_at:
        yield "The device never enrolled: the asset register names it, and no machine of its serial number was seen."
    elif it.device.enrolled_at >= it.day.ends_at:
        yield f"The device enrolled after the day, at {moment(it.device.enrolled_at)}."


def _presence(it: Explanation, missing: Missing) -> Iterator[str]:
    here, last_seen = missing.presence, it.device.last_seen_at
    if here.last_at:
        what = f"answered {plural(here.queries, 'query', 'queries')}" if here.queries else "only sent its own log"
        yield f"The device was there on the day: it {what}, the last time at {moment(here.last_at)}."
    elif last_seen and it.day.starts_at <= last_seen < it.day.ends_at:
        yield f"The device was heard of on the day, at {moment(last_seen)}, but answered nothing."
    else:
        yield f"Nothing at all was observed on the device on that day. It was last heard of at {moment(last_seen)}."


def _versions(it: Explanation, answer: MissingAnswer) -> Iterator[str]:
    if it.verdict.reason != "other_version" or answer.answered_version == answer.query.version:
        return
    other = f"version {answer.answered_version}" if answer.answered_version else "a query of that name that is not ours"
    since = f", served since {moment(answer.wanted_since)}" if answer.wanted_since else ""
    yield f"It answered {other}; the rule is for version {answer.query.version}{since}."


def _asked(answer: MissingAnswer, missing: Missing) -> Iterator[str]:
    query, told = answer.query.query, moment(missing.schedule_at or "")
    if not answer.asked:
        yield f"The packs it is judged by do not ask the device for {query}: no pack that brings it reaches the device."
    elif answer.conditional:
        yield f"Every pack that asks for {query} has discovery: it runs only where that finds something."
    if answer.denylisted:
        yield (
            f"By its own schedule osquery has {query} denylisted: it took too much time or memory, and is left out for"
            " a day."
        )
    elif answer.scheduled is not None:
        has = "has" if answer.scheduled else "does not have"
        yield f"Its own schedule, told at {told}, {has} {query} in that version."


def _answers(answer: MissingAnswer) -> Iterator[str]:
    query = answer.query.query
    for one in answer.asked_again:
        who = f"{one['asked_by']} had it" if one["why"] == "asked" else "It was"
        came = OUTCOMES.get(one["outcome"] or "", one["outcome"] or "Still open").lower()
        said = f" ({one['message']})" if one["message"] else ""
        yield f"{who} asked for {query} beside its schedule at {moment(one['asked_at'])}: {came}{said}."
    if answer.last_answer_at:
        yield f"The last answer to {query} before the day's end is of {moment(answer.last_answer_at)}."
    else:
        yield f"There is no answer to {query} before the day's end."
    if answer.next_answer_at:
        yield f"It answered again at {moment(answer.next_answer_at)}."


def _config(it: Explanation, missing: Missing) -> Iterator[str]:
    if not it.device.enrolled_at:
        return
    yield {
        "proven": "By the hash it told last it ran the config of these packs.",
        "other": "By the hash it told last it ran another config than that of these packs.",
        "not told": "It had not told which config it runs.",
    }[missing.config]
    if missing.served_number is None:
        yield "It was never served a config by this Muster."
    else:
        since = moment(missing.served_since or "")
        yield f"The config it was served last is of application {missing.served_number}, since {since}."


def seconds_words(seconds: int) -> str:
    """A length of time in its largest whole unit."""
    for size, name in ((86_400, "day"), (_HOUR, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return name if seconds == size else plural(seconds // size, name)
    return plural(seconds, "second")
