"""Verdicts as small numbers, so that a device's verdicts on many controls are one number to compare. Pure.

A verdict is a byte: what the device's answer comes to, a bit for lapsed and a bit for exempt. The byte of a control is
at the control's place among others; 0 is no verdict. Databases make the same bytes of what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from server.evaluate.verdicts import (
    ERROR,
    EXEMPT,
    FAIL,
    NO_DATA,
    NOT_APPLICABLE,
    PASS,
    STALE,
    Verdict,
)

OUTCOMES: tuple[tuple[str, str | None], ...] = (
    (PASS, None),
    (NOT_APPLICABLE, "platform"),
    (FAIL, "rows_break_rule"),
    (FAIL, "rows_match"),
    (FAIL, "no_row_matches"),
    (STALE, "too_old"),
    (NO_DATA, "never_answered"),
    (NOT_APPLICABLE, "condition"),
    (NOT_APPLICABLE, "not_targeted"),
    (NOT_APPLICABLE, "not_in_scope"),
    (NOT_APPLICABLE, "new_device"),
    (FAIL, "empty"),
    (ERROR, "empty"),
    (NOT_APPLICABLE, "empty"),
    (ERROR, "undecided"),
    (ERROR, "rule_broken"),
    (ERROR, "query_failed"),
    (ERROR, "denylisted"),
    (STALE, "incomplete"),
    (STALE, "other_version"),
    (FAIL, "rule_not_met"),
)
"""Every status, with its reason, that an answer or its absence can come to; frequent ones first."""
_UNKNOWN, _LAPSED, _EXEMPT, _ODD = 31, 32, 64, 128
IS_PASS = 1
"""The byte of a plain pass."""
_BYTES = {outcome: number for number, outcome in enumerate(OUTCOMES, 1)}
NOT_YET = _BYTES[NOT_APPLICABLE, "not_in_scope"]
"""That of a device that is in scope later."""
BYTE = 8
A_COLUMN = 7
"""Controls whose bytes fit into one whole number of a database."""


def byte_of(status: str, reason: str | None) -> int:
    """The byte of what an answer comes to. Raises ``KeyError`` for what is not among ``OUTCOMES``."""
    return _BYTES[status, reason]


def verdict_of(byte: int) -> Verdict | None:
    """The verdict that a byte stands for."""
    if byte == 0:
        return None
    status, reason = OUTCOMES[(byte & 31) - 1]
    return Verdict(EXEMPT if byte & _EXEMPT else status, status, 1 if byte & _LAPSED else 0, reason)


def lapsed(byte: int) -> int:
    """The same with the mark of a lapse."""
    return byte | _LAPSED


def exempt(byte: int) -> int:
    """The same as an exemption shows it: what does not apply needs none."""
    return byte if byte == 0 or OUTCOMES[(byte & 31) - 1][0] == NOT_APPLICABLE else byte | _EXEMPT


def _stored() -> str:
    """The byte of a stored run ``v``, in SQL; one that no verdict of today has where it is of another time."""
    reasons: dict[str, list[tuple[str, int]]] = {}
    for (status, reason), byte in _BYTES.items():
        if reason is not None:
            reasons.setdefault(reason, []).append((status, byte))
    by_reason = ""
    for reason, pairs in reasons.items():
        by_status = " ".join(f"WHEN '{status}' THEN {byte}" for status, byte in pairs)
        by_reason += f" WHEN '{reason}' THEN CASE v.underlying_status {by_status} ELSE {_UNKNOWN} END"
    return (
        f"(CASE WHEN v.reason IS NULL THEN CASE v.underlying_status WHEN '{PASS}' THEN {IS_PASS} ELSE {_UNKNOWN} END"
        f" ELSE CASE v.reason{by_reason} ELSE {_UNKNOWN} END END + {_LAPSED} * v.lapsed"
        f" + CASE v.status WHEN v.underlying_status THEN 0 WHEN '{EXEMPT}' THEN {_EXEMPT} ELSE {_ODD} END)"
    )


STORED = _stored()


class Places:
    """Where each control has its byte, by the number it has in the store."""

    def __init__(self, control_nos: Iterable[int]) -> None:
        self.control_nos = sorted(control_nos)
        self.first = self.control_nos[0] if self.control_nos else 0
        self.size = self.control_nos[-1] - self.first + 1 if self.control_nos else 0
        self.all = sum(255 << self.shift(number) for number in self.control_nos)
        """Every byte that counts."""

    def shift(self, control_no: int) -> int:
        """By how many bits the byte of a control is shifted."""
        return BYTE * (control_no - self.first)

    def columns(self, byte: str) -> Iterator[str]:
        """SQL that gives, for runs ``v`` of one device, its bytes in whole numbers of ``A_COLUMN`` controls each."""
        for start in range(self.first, self.first + self.size, A_COLUMN):
            shift = f"CAST({BYTE} * (v.control_no - {start}) AS INTEGER)"
            yield (
                f"CAST(SUM(CASE WHEN v.control_no BETWEEN {start} AND {start + A_COLUMN - 1}"
                f" THEN CAST({byte} AS BIGINT) << {shift} ELSE 0 END) AS BIGINT)"
            )

    def whole(self, columns: Sequence[int]) -> int:
        """The columns as one number."""
        number = columns[0]
        for place, column in enumerate(columns[1:], 1):
            number |= column << (BYTE * A_COLUMN * place)
        return number & self.all

    def differing(self, one: int, other: int) -> Iterator[tuple[int, int]]:
        """The controls whose bytes are not the same in both, with the byte in the first."""
        between = one ^ other
        for control_no in self.control_nos:
            shift = self.shift(control_no)
            if between >> shift & 255:
                yield control_no, one >> shift & 255

    def each(self, number: int) -> Iterator[tuple[int, int]]:
        """Every control with its byte, where it has one."""
        for control_no in self.control_nos:
            byte = number >> self.shift(control_no) & 255
            if byte:
                yield control_no, byte
