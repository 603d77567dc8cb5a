"""The ids of distributed queries that ask a device for a version of a shipped query. Pure.

A question is known by its device, its query and the second in which it was decided; ``attempt`` counts its sendings, so
that an answer tells which of them it is to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.normalize.names import scheduled_name

_QUESTION = re.compile(r"muster_ask_([0-9]{10,11})_([0-9]{1,3})_([ -.0-?A-~]{1,512})@([0-9a-z]{1,64})")


@dataclass(frozen=True, slots=True)
class QuestionId:
    """What the id of a question says; ``asked`` is in unix seconds."""

    query: str
    version: str
    asked: int
    attempt: int

    @property
    def text(self) -> str:
        """The id as osquery gets it."""
        return f"muster_ask_{self.asked}_{self.attempt}_{scheduled_name(self.query, self.version)}"


def parse_question(question: str) -> QuestionId | None:
    """What an id says; None for one that is not of such a question."""
    found = _QUESTION.fullmatch(question)
    return QuestionId(found[3], found[4], int(found[1]), int(found[2])) if found else None
