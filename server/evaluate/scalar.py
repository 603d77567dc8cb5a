"""What the rule language computes and databases do not, or not alike: each function as it reads in Python. Pure.

They are total: what cannot be computed is None. Every database has them under these names; a change here is a change
in ``server/drivers/postgres_functions.py`` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

EXACT = 2**53
"""Up to here doubles are exact for whole numbers: arithmetic beyond gives null, for bigints as for doubles."""
SMALLEST = 1e-100
"""A number nearer to 0 than this is not multiplied or added, so that no product vanishes."""
VERSION_CHARACTERS, VERSION_DIGITS, NUMBER_CHARACTERS = 255, 18, 40

_RUN = re.compile("[0-9]+")
_NUMBER = re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+) *")

Number = int | float


def version_compare(left: str | None, right: str | None) -> int | None:
    """-1, 0 or 1 as the runs of digits of ``left`` are, as numbers from the left, before, like or after ``right``'s.

    What is missing counts as 0. None where one is None or has no digit, a run of more than 18, or 255 characters.
    """
    one, other = _version(left), _version(right)
    if one is None or other is None:
        return None
    return (one > other) - (one < other)


def _version(text: str | None) -> list[int] | None:
    if text is None or len(text) > VERSION_CHARACTERS:
        return None
    runs = _RUN.findall(text)
    if not runs or max(map(len, runs)) > VERSION_DIGITS:
        return None
    numbers = [int(run) for run in runs]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return numbers


def number(text: str | None) -> float | None:
    """The number that a text spells: digits, with a sign, a decimal point and spaces around it as may be.

    None for every other text, one of more than 40 characters, and a number beyond 2**53.
    """
    if text is None or len(text) > NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    return float(text) + 0.0 if abs(Decimal(text.strip())) <= EXACT else None


def add(left: Number | None, right: Number | None) -> Number | None:
    """The sum of two whole numbers or two doubles."""
    return None if left is None or right is None else _computed(left, right, left + right)


def subtract(left: Number | None, right: Number | None) -> Number | None:
    """The difference of two whole numbers or two doubles."""
    return None if left is None or right is None else _computed(left, right, left - right)


def multiply(left: Number | None, right: Number | None) -> Number | None:
    """The product of two whole numbers or two doubles."""
    return None if left is None or right is None else _computed(left, right, left * right)


def _computed(left: Number, right: Number, result: Number) -> Number | None:
    if not all(operand == 0 or SMALLEST <= abs(operand) <= EXACT for operand in (left, right)):
        return None
    return result if abs(result) <= EXACT else None


def lower(text: str | None) -> str | None:
    """The letters a to z in lower case; others stay, for databases differ on them."""
    if text is None or text.isascii():
        return text and text.lower()
    return text.encode().lower().decode()


def upper(text: str | None) -> str | None:
    """The letters A to Z in upper case."""
    if text is None or text.isascii():
        return text and text.upper()
    return text.encode().upper().decode()


FUNCTIONS: Mapping[str, tuple[int, Callable[..., str | float | None]]] = {
    "muster_version_compare": (2, version_compare),
    "muster_number": (1, number),
    "muster_add": (2, add),
    "muster_subtract": (2, subtract),
    "muster_multiply": (2, multiply),
    "muster_lower": (1, lower),
    "muster_upper": (1, upper),
}
"""By their names in SQL, with how many arguments each takes."""
