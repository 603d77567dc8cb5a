"""An explanation in words, part by part: the same sentences for the terminal, the API and the console. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.evaluate.explained import ExplainedRule, Explanation, Lapse, Revision
from server.evaluate.runs import VerdictRun
from server.evaluate.verdicts import ERROR, EXEMPT, FAIL, NOT_APPLICABLE, PASS, REASONS, Verdict
from server.normalize.calendar import shifted
from server.report.silence import missing_lines, observation_lines
from server.report.words import LABELS, MEANINGS, days_between, long_day, moment, plural, short_day

QUANTIFIERS = {
    "every": "Every row of {query} must satisfy",
    "none": "No row of {query} may satisfy",
    "any": "Some row of {query} must satisfy",
    "sql": "Of {query} must be true",
}
"""What a rule asks, by its kind."""
CAUSES = {
    "late_data": "data came late",
    "rule": "the rule changed",
    "roster": "the roster was imported",
    "assets": "the asset register was imported",
    "exemption": "an exemption was granted or ended",
    "device": "the device itself changed",
    "asked": "somebody had the day judged again",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an explanation: a heading and sentences, each a line."""

    heading: str
    lines: Sequence[str]


def verdict_words(verdict: Verdict | None) -> str:
    """A verdict in a few words, as within a sentence."""
    if verdict is None:
        return "no verdict"
    words = LABELS[verdict.status].lower()
    if verdict.status == EXEMPT:
        words += f" (otherwise {LABELS[verdict.underlying_status].lower()})"
    if verdict.reason:
        words += f" ({REASONS.get(verdict.reason, verdict.reason)})"
    return f"{words}, lapsed" if verdict.lapsed else words


def summary(it: Explanation) -> str:
    """The verdict and what it means, in a sentence or two."""
    verdict = it.verdict
    reason = REASONS.get(verdict.reason, verdict.reason) if verdict.reason else _without_reason(it)
    text = f"{reason[0].upper()}{reason[1:]}."
    if verdict.status == EXEMPT:
        text = f"An exemption is in force; without it: {LABELS[verdict.underlying_status].lower()}. {text}"
    if verdict.lapsed:
        text += " Within the day the rule was broken, though it held at the end."
    return text


def _without_reason(it: Explanation) -> str:
    status = it.verdict.underlying_status
    # What is stored now tells why only where it still leads to the same.
    if status == PASS and it.rule and it.counts and it.judged_by.exact and not it.as_stored_now:
        return _why_pass(it.rule, it.counts.total, it.counts.holding)
    if status == PASS and it.rule and it.rule.quantifier == "sql":
        return f"the rows of {' and '.join(one.query for one in it.rule.queries)} make up what the rule asks for"
    return MEANINGS[status]


def _why_pass(rule: ExplainedRule, total: int, holding: int) -> str:
    query = rule.queries[0].query
    if total == 0:
        return f"the answer to {query} had no rows, which by the rule is a pass"
    rows = f"the answer to {query} has {plural(total, 'row')}"
    if rule.quantifier == "none":
        return f"{rows}, and none is of the kind that must not be there"
    if rule.quantifier == "any":
        return f"{rows}, and {holding:,} of them {'is' if holding == 1 else 'are'} of the kind that must be there"
    return f"{rows}, and every one satisfies the rule"


def since(it: Explanation) -> str:
    """Since when the verdict stands, and what it was before."""
    run = it.run
    label = LABELS[run.verdict.status]
    text = f"{label} since {long_day(it.status_since)}"
    if it.status_since < it.day.day:
        text += f", for {plural(days_between(it.status_since, it.day.day) + 1, 'day')} on end"
    if run.first_day != it.status_since:
        text += f"; for this reason since {short_day(run.first_day)}"
    if it.before is None:
        return f"{text}; there is no verdict before."
    before = it.before
    until = before.last_day or before.first_day
    gap = "" if shifted(until, 1) == it.status_since else f" until {short_day(until)}, then not judged"
    return f"{text}; before that {verdict_words(before.verdict)} since {short_day(before.first_day)}{gap}."


def state(it: Explanation) -> str:
    """Whether the day is over, and what came of the verdict after it."""
    day = it.day
    if day.provisional:
        text = "Provisional: the day is not closed yet, and the verdict follows what the device says."
    else:
        closed = f" at {moment(day.closed_at)}" if day.closed_at else ""
        text = f"{day.state.capitalize()}{closed}: what changes it now leaves a revision."
    after = _after(it.next) if it.next else ""
    zone = "" if day.zone == "UTC" else f", a day of {day.zone}"
    return f"{text} The day is from {moment(day.starts_at)} to {moment(day.ends_at)}{zone}.{after}"


def _after(run: VerdictRun) -> str:
    return f" From {short_day(run.first_day)} on it was {verdict_words(run.verdict)}."


def cautions(it: Explanation) -> list[str]:
    """What keeps the explanation from being whole, and what may change the verdict still."""
    found = []
    by = it.judged_by
    if it.erasure:
        found.append(
            f"The device was erased on {moment(it.erasure['requested_at'])} by {it.erasure['erased_by']}"
            f" ({it.erasure['reason']}): its verdicts are kept, its rows are gone."
        )
    elif it.rows_deleted:
        found.append(
            f"Rows from before {moment(it.rows_kept_from)} have been deleted for their age: what is shown may be less"
            " than what was judged."
        )
    if by.problem:
        found.append(f"The packs of this day: {by.problem}")
    if it.rule is None and not it.limits:
        found.append("No packs that can be read have this control: only what was stored of the verdict is shown.")
    elif not by.exact:
        found.append(
            f"The day was judged by version {by.rule_version or 'none'} of the rule, which none of the packs at hand"
            " has: the rule and the rows below are by those nearest to it, and may not be what decided."
        )
    if it.as_stored_now:
        why = f"Not judged yet: {'; '.join(it.pending)}." if it.pending else "'muster evaluate --day' judges it again."
        found.append(f"By what is stored now it would be {verdict_words(it.as_stored_now)}. {why}")
    return found


def rule_lines(it: Explanation) -> list[str]:
    """The query and the rule, and who judged by them."""
    rule = it.rule
    if rule is None:
        return []
    lines = [f"{rule_asks(rule)}: {rule.condition}"]
    if rule.undecided:
        lines.append(f"Rows that cannot be judged: {rule.undecided}")
    if rule.applies_when:
        what = "this is true" if rule.quantifier == "sql" else "some row satisfies"
        lines.append(f"It applies where {what}: {rule.applies_when}")
    lines.append(f"An answer without rows means {LABELS[rule.empty].lower()}.")
    counts = plural(it.fresh_within_days, "day")
    lines.append(f"An answer counts for {counts}." if it.fresh_within_days > 1 else "An answer counts for its own day.")
    if rule.note:
        lines.append(rule.note)
    return lines


def rule_asks(rule: ExplainedRule) -> str:
    """What a rule asks of which queries, in their versions."""
    queries = ", ".join(f"{one.query}@{one.version}" for one in rule.queries)
    return QUANTIFIERS[rule.quantifier].format(query=queries)


def judged_lines(it: Explanation) -> list[str]:
    """By which packs the verdict was given."""
    by, one = it.judged_by, it.judged_by.application
    version = f"version {by.rule_version or 'none'} of the rule, first judged so at {moment(by.evaluated_at)}"
    if one is None:
        where = "packs that were never applied" if by.exact else "packs that cannot be told"
        return [f"By {where}; {version}."]
    # Of a canary that was promoted the devices in it had these packs from the start.
    as_canary = ", as a device of its canary" if by.canary else ""
    note = f": {one.note}" if one.note else ""
    nearest = "By" if by.exact else "Nearest:"
    return [
        f"{nearest} application {one.number} ({one.hash[:12]}), applied by {one.applied_by} at {moment(one.applied_at)}"
        f"{as_canary}{note}",
        f"It is {version}.",
    ]


def list_lines(it: Explanation) -> list[str]:
    """The lists that the rule looks things up in."""
    lines = []
    for used in it.lists:
        if used.entries is not None:
            lines.append(f"{used.name}: {used.title}, as of {used.as_of}, {plural(used.entries, 'entry', 'entries')},"
                         f" digest {used.digest}")  # fmt: skip
        else:
            lines.append(f"{used.name}: {used.title}" + (f", at {moment(used.as_of)}" if used.as_of else ""))
    return lines


def exemption_lines(it: Explanation) -> list[str]:
    """The exemptions that cover the device on the day."""
    lines = []
    for one in it.exemptions:
        whom = f" It is for the {one['scope']} {one['subject']}." if one["scope"] != "device" else ""
        lines.append(f"{one['reason']}{whom}")
        lines.append(
            f"Asked for by {one['requested_by']}, approved by {one['approved_by']} at {moment(one['granted_at'])};"
            f" from {short_day(one['first_day'])} until {long_day(one['last_day'])} (exemption {one['exemption_id']})."
        )
        for label, key in (("Risk", "risk"), ("Instead", "compensating_control"), ("See", "link")):
            lines += [f"{label}: {one[key]}"] if one[key] else []
        if one["revoked_by"]:
            lines.append(f"Revoked by {one['revoked_by']}: it covers nothing from {long_day(one['revoked_day'])} on.")
    if it.verdict.status == EXEMPT and not lines:
        lines.append("The exemption that covered it is not there any more.")
    return lines


def revision_lines(it: Explanation) -> list[str]:
    """How the verdict of the closed day changed, and why."""
    return [revision_words(one) for one in it.revisions]


def revision_words(one: Revision) -> str:
    """A revision in a sentence."""
    why = CAUSES.get(one.cause, one.cause)
    detail = f" ({one.detail})" if one.detail else ""
    return f"{moment(one.revised_at)}: {verdict_words(one.before)} → {verdict_words(one.after)}, because {why}{detail}."


def scope_lines(it: Explanation) -> list[str]:
    """Why a control does not apply, where that is not told by rows."""
    reason, device = it.verdict.reason, it.device
    if it.verdict.underlying_status != NOT_APPLICABLE:
        return []
    if reason == "new_device":
        return [f"The device is in scope since {moment(device.in_scope_from)}. New ones are let to settle for"
                f" {plural(it.grace_days, 'day')} (new_device_grace_days)."]  # fmt: skip
    if reason == "not_in_scope":
        return [f"The device is judged from {moment(device.in_scope_from)} on."]
    if reason == "not_targeted":
        if not it.packs:
            return ["No pack of those in force brings this control."]
        named = ", ".join(name for name, _ in it.packs)
        return [
            f"Packs that bring this control: {named}. Their targets leave the device out"
            f" (its tags: {device.tags or 'none'})."
        ]
    return []


def rows_heading(it: Explanation) -> str:
    """What the rows are that are shown; empty where there are none to speak of."""
    evidence, verdict = it.evidence, it.verdict
    if evidence is None or not evidence.count:
        return ""
    count = plural(evidence.count, "row")
    satisfy = "satisfies" if evidence.count == 1 else "satisfy"
    one_query = it.rule is None or it.rule.quantifier != "sql"
    kind = (
        f"{count} of {evidence.query} that the rule shows"
        if not one_query
        else {
            FAIL: f"{count} of {evidence.query} that decided",
            ERROR: f"{count} of {evidence.query} that cannot be judged",
            NOT_APPLICABLE: f"{count} of {evidence.query} that show it",
        }.get(verdict.underlying_status, f"{count} of {evidence.query} that {satisfy} the rule")
    )
    if len(evidence.rows) < evidence.count:
        first = evidence.offset + 1
        kind += f"; here {first:,} to {evidence.offset + len(evidence.rows):,}" if evidence.rows else "; none here"
    return kind


def lapse_words(lapse: Lapse) -> str:
    """When the rule was broken within the day, and until when."""
    until = f"until the answer of {moment(lapse.until)}" if lapse.until else "at the last answer looked at, too"
    count = plural(lapse.evidence.count, "row")
    return f"Broken at {moment(lapse.at)}, {until}: {count} of {lapse.evidence.query}"


def interval_words(valid_from: str, valid_to: str | None) -> str:
    """Since when a row is there, and until when; of one that a rule made of rows that is not told."""
    if not valid_from:
        return "As the answers stood then"
    return f"There since {moment(valid_from)}, " + (f"gone by {moment(valid_to)}" if valid_to else "still there")


def parts(it: Explanation) -> Iterator[Part]:
    """Everything but the rows themselves, in the order in which people want it."""
    for heading, lines in (
        ("Note", cautions(it)),
        ("Exemption", exemption_lines(it)),
        ("Not applicable", scope_lines(it)),
        ("What is missing", missing_lines(it)),
        ("Observed", observation_lines(it)),
        ("Rule", rule_lines(it)),
        ("Lists", list_lines(it)),
        ("Judged by", judged_lines(it)),
        ("Revisions", revision_lines(it)),
        ("Mending it", [it.remediation] if it.remediation and _broken(it) else []),
        ("Limits", [it.limits] if it.limits else []),
    ):
        if lines:
            yield Part(heading, lines)


def _broken(it: Explanation) -> bool:
    return it.verdict.underlying_status == FAIL or bool(it.verdict.lapsed)
