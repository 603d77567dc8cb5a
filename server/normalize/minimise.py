"""Minimisation: what of an answer is dropped, hashed, shortened or cut out before anything else sees it. Pure.

What becomes of a value depends on the query, the names of its row's columns, the value and the key, never on time or
order, so that a snapshot and a differential, a first answer and its replay come out alike.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from server.normalize import never
from server.normalize.answers import Answer
from server.normalize.names import ScheduledName, parse_scheduled_name
from server.normalize.rows import fingerprint
from server.normalize.text import clean_text
from server.normalize.treatment import Minimisation, Treatment
from server.normalize.values import TEXT, fit
from server.wire.messages import BadLine, RawRows, Row, StatusLine

PLANS = 5000
"""Plans kept. A device may send any names, so there is an end to what is remembered of them."""
SHAPE_CHARS = 10_000
"""Characters that the columns' names of a plan may have together for it to be kept."""
CLEAN = 200_000
"""Fingerprints kept of snapshots in which nothing was to be changed: about 100 bytes each."""

FAMILIAR = 100_000
"""Large snapshots remembered by the bytes of their rows: about 400 bytes each."""

_KEYS = re.compile(r"""["']([^"'\\]{1,100})\\?["']\s*:""")
_is_secret_name = lru_cache(maxsize=8192)(never.is_secret_name)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of rows of one shape."""

    columns: tuple[tuple[str, Treatment], ...]
    settings: tuple[str, ...]
    """Columns that name what ``held`` holds."""
    held: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.columns or self.held)


class Minimiser:
    """Applies a minimisation. ``key`` is that of the hashes; a rule that hashes without one is an error.

    Several may share what is ``familiar``: each reads what it does not know itself.
    """

    def __init__(
        self, minimisation: Minimisation, key: bytes | None = None, familiar: set[bytes] | None = None
    ) -> None:
        self._of = minimisation
        self._key = key
        self._plans: dict[tuple[str, str, bool, tuple[str, ...]], _Plan] = {}
        self._clean: dict[tuple[str, str | None, str], set[str]] = {}
        self._clean_count = 0
        self.familiar: set[bytes] = set() if familiar is None else familiar
        """Digests of the raw rows that need not be read to know what they come to."""
        self._marks: dict[tuple[bytes, str, str | None, str], str] = {}

    def answers(self, answers: list[Answer], platform: str) -> list[Answer]:
        """Minimise answers in place. Rows are replaced, not changed: those of the body stay as they came.

        One that is unread stays so if it is known what its rows come to, and gets that fingerprint.
        """
        for answer in answers:
            name = ScheduledName(answer.query, answer.version)
            if answer.snapshot and answer.raw_rows:
                self._large_snapshot(answer, answer.raw_rows, name, platform)
            elif answer.snapshot:
                self._snapshot(answer, name, platform)
            else:
                answer.added = self._rows(answer.added, name, platform)
                answer.removed = self._rows(answer.removed, name, platform)
        return answers

    def read(self, answer: Answer, platform: str) -> None:
        """Read an answer that is unread, and minimise it."""
        answer.read()
        self._snapshot(answer, ScheduledName(answer.query, answer.version), platform)

    def _large_snapshot(self, answer: Answer, raw: RawRows, name: ScheduledName, platform: str) -> None:
        at = (raw.digest, name.query, name.version, platform)
        mark = self._marks.get(at)
        if mark and answer.unread:
            answer.fingerprint = mark
            return
        answer.read()
        self._snapshot(answer, name, platform)
        if not answer.fingerprint:
            answer.fingerprint = fingerprint(answer.added)
        if len(self._marks) >= FAMILIAR:
            self._marks.clear()
            self.familiar.clear()
        self._marks[at] = answer.fingerprint
        self.familiar.add(raw.digest)

    def _snapshot(self, answer: Answer, name: ScheduledName, platform: str) -> None:
        """Most snapshots are those of the hour before: what was found clean once is not looked through again."""
        mark = fingerprint(answer.added)
        if mark not in self._clean.get((name.query, name.version, platform), ()):
            rows = self._rows(answer.added, name, platform)
            if any(new is not old for new, old in zip(rows, answer.added, strict=True)):
                answer.added = rows
                return
            if self._clean_count >= CLEAN:
                self._clean.clear()
                self._clean_count = 0
            self._clean.setdefault((name.query, name.version, platform), set()).add(mark)
            self._clean_count += 1
        answer.fingerprint = mark

    def statuses(self, lines: Sequence[StatusLine]) -> list[StatusLine]:
        """Cut out of osquery's own messages what looks like a secret."""
        return [
            replace(line, message=never.redact(line.message), filename=never.redact(line.filename)) for line in lines
        ]

    def bad(self, line: BadLine, platform: str) -> BadLine:
        """Leave of a line that could not be stored what may be kept.

        Its rows cannot be minimised, for nothing vouches for their shape: where anything in them might have to be,
        the names of the columns are all that is left.
        """
        sample = never.redact(line.sample)
        keys = list(dict.fromkeys(_KEYS.findall(line.sample)))
        if keys and (not line.name.strip() or sample != line.sample or self._touches(line.name, platform, keys)):
            sample = f"values withheld; keys: {', '.join(never.redact(key) for key in keys)}"
        return replace(line, sample=sample, reason=never.redact(line.reason), name=never.redact(line.name))

    def _touches(self, scheduled: str, platform: str, keys: Sequence[str]) -> bool:
        name = parse_scheduled_name(clean_text(scheduled.strip()))
        return bool(self._plan(name, platform, tuple(keys)))

    def _rows(self, rows: list[Row], name: ScheduledName, platform: str) -> list[Row]:
        if not rows:
            return rows
        plans = {shape: self._plan(name, platform, shape) for shape in set(map(tuple, rows))}
        needles = _needles_in(rows)
        if not needles and not any(plans.values()):
            return rows
        return [self._row(row, plans[tuple(row)], needles) for row in rows]

    def _row(self, row: Row, plan: _Plan, needles: Sequence[str]) -> Row:
        changed: dict[str, Any] = {}
        for column, treatment in plan.columns:
            value = self._value(row[column], treatment)
            if value is not row[column]:
                changed[column] = value
        if plan.held and any(_is_secret_name(str(row[column])[-200:]) for column in plan.settings):
            changed |= {column: None for column in plan.held if not never.is_flag(row[column])}
        if needles:
            changed |= _redacted(row, needles, changed)
        return {**row, **changed} if changed else row

    def _value(self, value: Any, treatment: Treatment) -> Any:
        if treatment.never or (treatment.flags_only and not never.is_flag(value)):
            return None
        text = fit(value, TEXT)
        rule = next((rule for rule in treatment.rules if rule.takes(str(text or ""))), None)
        if rule is None:
            return never.redact(value) if isinstance(value, str) else value
        if rule.action == "drop":
            return None
        if not text:
            return value
        return self._token(str(text)) if rule.action == "hash" else never.redact(str(text))[: rule.keep]

    def _token(self, text: str) -> str:
        """The keyed hash of a text: the same for the same text, in whatever column it stands."""
        if self._key is None:
            raise MissingKeyError("a rule of the packs hashes values, and there is no key to hash with")
        digest = blake2b(text.encode(), key=self._key, digest_size=18, person=b"muster minimise").digest()
        return "h_" + b64encode(digest, b"-_").decode("ascii")

    def _plan(self, name: ScheduledName, platform: str, shape: tuple[str, ...]) -> _Plan:
        known = self._of.is_known(name, platform)
        at = (name.query, platform, known, shape)
        plan = self._plans.get(at)
        if plan is None:
            found = [(column, self._of.treatment(name.query, platform, column, known=known)) for column in shape]
            naming, holding = self._of.setting_columns(name.query, platform, set(shape))
            done = {column for column, treatment in found if treatment}
            held = tuple(column for column in holding if column not in done)
            plan = _Plan(tuple(pair for pair in found if pair[1]), tuple(naming), held)
            if len(self._plans) >= PLANS:
                self._plans.clear()
            if sum(map(len, shape)) <= SHAPE_CHARS:
                self._plans[at] = plan
        return plan


class MissingKeyError(ValueError):
    """Values are to be hashed and no key was given."""


def _redacted(row: Row, needles: Sequence[str], done: Container[str]) -> dict[str, str]:
    """The columns of a row in which something had to be cut out."""
    changed = {}
    for column, value in row.items():
        if column not in done and isinstance(value, str):
            low = value.lower()
            if any(needle in low for needle in needles) and (left := never.redact(value)) != value:
                changed[column] = left
    return changed


def _needles_in(rows: Sequence[Row]) -> Sequence[str]:
    """The needles in the values of rows: one search over all that are different, since most answers hold none."""
    values: set[Any] = set()
    for row in rows:
        values.update(row.values())
    return never.needles_in("\n".join([value for value in values if isinstance(value, str)]))
