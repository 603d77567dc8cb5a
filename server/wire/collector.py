"""What the collector sends, and what it is answered: batches of its spool, each to be counted once.

Here the status decides, beside the body: 400 and 413 say that this batch can never be taken as it is and must be split,
409 that its numbering is not the one known here, 429 and 503 that it is to come again later.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import orjson

from server.wire import limits
from server.wire.body import BadBodyError
from server.wire.distributed import cost_of
from server.wire.log import (
    BadLineError,
    Reading,
    checked_rows,
    keep_bad,
    kind_of,
    read_lines,
    read_object,
    sample_of,
    text_of,
    whole_of,
)
from server.wire.messages import ENDED, Backlog, BadLine, BatchMark, CollectorBatch, Gap, LogBody, QuestionAnswer

LANES = ("log", "live")
ANY_QUERY = "*"
"""The query of a gap of which it is not known what was lost."""
LARGEST_COUNT = 2**42
"""Lines or bytes that are counted at most (4 TB): the sum of a million of them still fits the databases' integers."""
DIVERGED = b'{"diverged":true}'
"""The batch goes on from another place than the one known here: the collector begins a new numbering."""

_ID = re.compile(r"[0-9a-f]{32}")
_FAILED = 1
_STATUSES = {"answered": 0, "failed": _FAILED, **dict.fromkeys(ENDED, _FAILED)}
_LOST_EVERYTHING = "corrupt"
"""The reason of a gap that names no query since its spool could not be read any more."""


class TooManyLinesError(BadBodyError):
    """The batch holds more lines than are taken at once."""


def taken(through: int) -> bytes:
    """The batch is durable: the collector deletes its lines."""
    return orjson.dumps({"taken": through})


def error(message: str, retry_after: int | None = None) -> bytes:
    """The batch was not taken. ``retry_after`` is in seconds; ``message`` must hold no secret."""
    return orjson.dumps({"error": message} | ({} if retry_after is None else {"retry_after": retry_after}))


def parse_batch(raw: bytes, familiar: Container[bytes] = ()) -> CollectorBatch:
    """Read a batch; lines, answers and gaps that cannot be read are among the bad lines of its body.

    Snapshots whose rows' digests are ``familiar`` are left unread. Raises ``BadBodyError``.
    """
    return read_object(raw, familiar, _batch)


def _batch(value: dict[str, Any], reading: Reading) -> CollectorBatch:
    mark = _mark(value.get("batch"))
    lines, answers, gaps = (_list(value, part) for part in ("data", "answers", "gaps"))
    count = len(lines) + len(answers) + len(gaps)
    if count > limits.LINES_A_BATCH:
        raise TooManyLinesError(f"{count} lines in one batch, more than {limits.LINES_A_BATCH}")
    body = LogBody(node_key="")
    read_lines(body, lines, "", reading)
    batch = CollectorBatch(mark=mark, body=body, answers=[], backlog=backlog_of(value.get("backlog")))
    for line in answers:
        _read_answer(batch, line, reading.exact)
    for line in gaps:
        _read_gap(batch, line)
    return batch


def _mark(value: Any) -> BatchMark:
    if not isinstance(value, dict):
        raise BadBodyError(f"batch is {kind_of(value)}, not an object")
    ids = [text_of(value.get(part)) for part in ("id", "spool")]
    if not all(_ID.fullmatch(text) for text in ids):
        raise BadBodyError("the batch's id and spool must be 32 hexadecimal digits each")
    lane: Any = value.get("lane")
    after: Any = value.get("after")
    through: Any = value.get("through")
    if lane not in LANES:
        raise BadBodyError(f"the batch's lane is none of {', '.join(LANES)}")
    if not (_is_whole(after) and _is_whole(through) and 0 <= after < through < 2**63):
        raise BadBodyError("the batch's after and through must be whole numbers, the second the larger")
    return BatchMark(id=ids[0], spool=ids[1], lane=lane, after=after, through=through)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list(value: dict[str, Any], part: str) -> list[Any]:
    found = value.get(part, [])
    if not isinstance(found, list):
        raise BadBodyError(f"{part} is {kind_of(found)}, not an array")
    return found


def _read_answer(batch: CollectorBatch, value: Any, exact: bool) -> None:
    """Add an answer to a question, or why there is none; one whose rows cannot be taken is one that failed."""
    question = ""
    try:
        if not isinstance(value, dict):
            raise BadLineError(f"an answer is {kind_of(value)}, not an object")
        status, named = text_of(value.get("status")), text_of(value.get("id"))
        if status not in _STATUSES:
            raise BadLineError(f"an answer's status {sample_of(status)[:40]!r} is none of {', '.join(_STATUSES)}")
        if not named or len(named) > limits.QUESTION_CHARS:
            raise BadLineError("an answer has no usable id")
        question = named
        batch.answers.append(
            QuestionAnswer(
                question=question,
                status=_STATUSES[status],
                message=text_of(value.get("message")),
                rows=checked_rows(value.get("rows", []), "rows", exact),
                ended=status if status in ENDED else "",
                cost=cost_of(value.get("cost")),
            )
        )
    except BadLineError as error:
        keep_bad(batch.body, BadLine(reason=str(error), sample=sample_of(value)))
        if question:  # else nobody would ever know why it is not answered
            cost = cost_of(value.get("cost"))
            failed = QuestionAnswer(question=question, status=_FAILED, message=str(error), rows=[], cost=cost)
            batch.answers.append(failed)


def _read_gap(batch: CollectorBatch, value: Any) -> None:
    try:
        if not isinstance(value, dict):
            raise BadLineError(f"a gap is {kind_of(value)}, not an object")
        query, reason = text_of(value.get("name")), text_of(value.get("reason"))
        if len(query) > limits.NAME_CHARS:
            raise BadLineError(f"a gap's name has {len(query)} characters")
        first, last = whole_of(value, "first_at"), whole_of(value, "last_at")
        gap = Gap(
            query=ANY_QUERY if not query and reason.startswith(_LOST_EVERYTHING) else query,
            lines=_counted(value, "lines"),
            bytes=_counted(value, "bytes", 0),
            first_at=min(first, last),
            last_at=max(first, last),
            reason=reason,
            dropped_at=whole_of(value, "dropped_at", last),
        )
        batch.body.gaps.append(gap)
    except BadLineError as error:
        keep_bad(batch.body, BadLine(reason=str(error), sample=sample_of(value)))


def _counted(value: dict[str, Any], key: str, default: int | None = None) -> int:
    """A count that is summed up with others, and so kept within what is possible. Raises ``BadLineError``."""
    return min(max(whole_of(value, key, default), 0), LARGEST_COUNT)


def backlog_of(value: Any) -> Backlog | None:
    """What is still to come, as far as that is told: it only informs people."""
    if not isinstance(value, dict):
        return None
    try:
        oldest = None if value.get("oldest_at") is None else whole_of(value, "oldest_at")
        return Backlog(lines=_counted(value, "lines"), bytes=_counted(value, "bytes"), oldest_at=oldest)
    except BadLineError:
        return None
