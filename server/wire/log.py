"""Reading the body of /log, and the lines of an osqueryd.results.log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from server.wire import limits
from server.wire.body import BadBodyError, decode, node_key_in
from server.wire.messages import BadLine, LogBody, ResultLine, Row, StatusLine
from server.wire.repeats import CutRows, cut, read_rows

SAMPLE_CHARS = 1000
BAD_LINES_A_BODY = 100
"""Unreadable lines kept of one body; the rest of them are counted in the last one's reason."""

_ROUNDED = 2.0**63
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_SCALARS = (str, int, float, bool, type(None))
_OWN_KEYS = frozenset(
    """snapshot diffResults columns action name hostIdentifier calendarTime unixTime epoch counter numerics
    logNumericsAsNumbers decorations hostname severity filename line message version""".split()
)


Read = TypeVar("Read")


class RoundedError(Exception):
    """A number was too large for the fast parser and has lost digits; the body is to be read exactly."""


class BadLineError(ValueError):
    """This line cannot be stored; the message is the reason."""


def parse_log(raw: bytes, header_key: str = "", familiar: Container[bytes] = ()) -> LogBody:
    """Read a /log body; what is no JSON as a whole is read line by line.

    ``header_key`` is the node key of the request's header, for a body that has none. Snapshots whose rows' digests are
    ``familiar`` are left unread. Raises ``BadBodyError`` only when there is no node key anywhere.
    """
    try:
        return read_object(raw, familiar, partial(_parse, header_key))
    except BadBodyError as error:
        return _salvage(raw, header_key, error)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a body is being read: how long it is, whether every digit counts, and the rows that were cut out of it."""

    size: int
    exact: bool = False
    cut_rows: CutRows | None = None


def read_object(raw: bytes, familiar: Container[bytes], read: Callable[[dict[str, Any], Reading], Read]) -> Read:
    """Return what ``read`` makes of the JSON object of a body that holds log lines; it may be asked up to three times.

    Snapshots whose rows' digests are ``familiar`` are left unread. Raises ``BadBodyError``.
    """
    short, rows = cut(raw)
    if rows:
        try:
            return read(_object(decode(short)), Reading(len(short), cut_rows=CutRows(rows, familiar)))
        except (RoundedError, BadBodyError):
            pass  # it is read again, as a whole and with more patience
    try:
        return read(_object(decode(raw)), Reading(len(raw)))
    except RoundedError:
        return read(_object(decode(raw, exact=True)), Reading(len(raw), exact=True))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadBodyError(f"body is a JSON {kind_of(value)}, not an object")
    return value


def _parse(header_key: str, value: dict[str, Any], reading: Reading) -> LogBody:
    body = LogBody(node_key=text_of(value.get("node_key")) or header_key)
    lines = value.get("data")
    if not isinstance(lines, list):
        keep_bad(body, BadLine(reason=f"data is {kind_of(lines)}, not an array of lines", sample=sample_of(value)))
        return body
    read_lines(body, lines, text_of(value.get("log_type")), reading)
    return body


def _short_enough(body: LogBody, line: Any) -> bool:
    size = len(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    if size <= limits.LINE_BYTES:
        return True
    name = text_of(line.get("name")) if isinstance(line, dict) else ""
    reason = f"line of {size} characters is longer than {limits.LINE_BYTES}"
    keep_bad(body, BadLine(reason=reason, sample=sample_of(line), name=name[: limits.NAME_CHARS]))
    return False


def parse_file_line(raw: bytes) -> LogBody:
    """Read one line of a results or snapshots log that osquery's filesystem logger wrote."""
    body = LogBody(node_key="")
    try:
        line = decode(raw, exact=True)
    except BadBodyError as error:
        keep_bad(body, BadLine(reason=str(error), sample=sample_of(raw.decode("utf-8", "replace"))))
        return body
    read_lines(body, [line], "result", Reading(0, exact=True))
    return body


def read_lines(body: LogBody, lines: list[Any], log_type: str, reading: Reading) -> None:
    """Add log lines to a body, those that cannot be read among the bad ones; ``log_type`` is osquery's, or empty."""
    if reading.size > limits.LINE_BYTES:  # else no line of it can be over the limit
        lines = [line for line in lines if _short_enough(body, line)]
    if len(lines) > limits.LINES_A_BODY:
        keep_bad(body, BadLine(reason=f"{len(lines)} lines in one body, {limits.LINES_A_BODY} are read", sample=""))
        lines = lines[: limits.LINES_A_BODY]
    for line in lines:
        try:
            if not isinstance(line, dict):
                raise BadLineError(f"line is {kind_of(line)}, not an object")
            if log_type == "status" or ("severity" in line and "name" not in line):
                body.statuses.append(_status(line))
            else:
                body.results.append(_result(line, reading.exact, reading.cut_rows))
        except BadLineError as error:
            name = text_of(line.get("name")) if isinstance(line, dict) else ""
            keep_bad(body, BadLine(reason=str(error), sample=sample_of(line), name=name[: limits.NAME_CHARS]))


def _result(line: dict[str, Any], exact: bool, cut_rows: CutRows | None) -> ResultLine:
    raw_rows = cut_rows.of(line.get("snapshot")) if cut_rows else None
    unread = raw_rows is not None and cut_rows is not None and raw_rows.digest in cut_rows.familiar
    if raw_rows:
        line["snapshot"] = [] if unread else read_rows(raw_rows)
    name = line.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > limits.NAME_CHARS:
        raise BadLineError("line has no usable query name")
    kind, added, removed = _rows(line, exact)
    return ResultLine(
        name=name,
        unix_time=whole_of(line, "unixTime"),
        epoch=whole_of(line, "epoch", 0),
        counter=whole_of(line, "counter", 0),
        kind=kind,
        added=added,
        removed=removed,
        host_identifier=text_of(line.get("hostIdentifier", line.get("hostname"))),
        decorations=_decorations(line),
        raw_rows=raw_rows,
        unread=unread,
    )


def _decorations(line: dict[str, Any]) -> Row:
    decorations = line.get("decorations")
    if isinstance(decorations, dict):
        return decorations
    # --decorations_top_level puts them beside osquery's own keys
    return {key: value for key, value in line.items() if key not in _OWN_KEYS}


def _rows(line: dict[str, Any], exact: bool) -> tuple[str, list[Row], list[Row]]:
    action = line.get("action")
    if "snapshot" in line:
        return "snapshot", checked_rows(line["snapshot"], "snapshot", exact), []
    if "diffResults" in line:
        # Very old agents sent "" for an empty difference.
        difference = line["diffResults"] or {}
        if not isinstance(difference, dict):
            raise BadLineError(f"diffResults is {kind_of(difference)}, not an object")
        added, removed = difference.get("added", []), difference.get("removed", [])
        return "diff", checked_rows(added, "added", exact), checked_rows(removed, "removed", exact)
    if "columns" in line:
        rows = checked_rows([line["columns"]], "columns", exact)
        if action == "added":
            return "event", rows, []
        if action == "removed":
            return "event", [], rows
        if action == "snapshot":
            return "snapshot_row", rows, []
        raise BadLineError(f"action {sample_of(action)!r} is none of added, removed, snapshot")
    raise BadLineError("line has none of snapshot, diffResults, columns")


def checked_rows(rows: Any, where: str, exact: bool) -> list[Row]:
    """The rows of a JSON value, each within the limits.

    Raises ``BadLineError`` and, unless ``exact``, ``RoundedError``.
    """
    if rows == "":
        return []
    if not isinstance(rows, list):
        raise BadLineError(f"{where} is {kind_of(rows)}, not an array of rows")
    if len(rows) > limits.ROWS_A_LINE:
        raise BadLineError(f"{where} has {len(rows)} rows, more than {limits.ROWS_A_LINE}")
    if _plain(rows):
        return rows
    for row in rows:
        if not isinstance(row, dict):
            raise BadLineError(f"a row of {where} is {kind_of(row)}, not an object")
        if len(row) > limits.COLUMNS_A_ROW:
            raise BadLineError(f"a row of {where} has {len(row)} columns, more than {limits.COLUMNS_A_ROW}")
        for column, value in row.items():
            _check_value(column, value, exact)
    return rows


def _plain(rows: list[Any]) -> bool:
    """Whether the rows are what they nearly always are, told without a look at each value: texts of usual length."""
    if set(map(type, rows)) != {dict} or max(map(len, rows)) > limits.COLUMNS_A_ROW:
        return False
    if set(map(type, chain.from_iterable(map(dict.values, rows)))) != {str}:
        return False
    return max(map(len, chain.from_iterable(map(dict.values, rows)))) <= limits.VALUE_CHARS


def _check_value(column: str, value: Any, exact: bool) -> None:
    if isinstance(value, str):
        if len(value) > limits.VALUE_CHARS:
            raise BadLineError(f"column {column[:100]!r} holds {len(value)} characters")
    elif isinstance(value, float):
        if abs(value) >= _ROUNDED and value.is_integer() and not exact:
            raise RoundedError
    elif not isinstance(value, _SCALARS):
        raise BadLineError(f"column {column[:100]!r} holds {kind_of(value)}, not a single value")


def _status(line: dict[str, Any]) -> StatusLine:
    return StatusLine(
        unix_time=whole_of(line, "unixTime"),
        severity=whole_of(line, "severity", 0),
        filename=text_of(line.get("filename")),
        line=whole_of(line, "line", 0),
        message=text_of(line.get("message")),
        version=text_of(line.get("version")),
        host_identifier=text_of(line.get("hostIdentifier")),
        decorations=_decorations(line),
    )


def whole_of(line: dict[str, Any], key: str, default: int | None = None) -> int:
    """A whole number of 64 bits, also one written as text. Raises ``BadLineError``."""
    value = line.get(key, default)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise BadLineError(f"{key} is {sample_of(value)!r}, not a whole number")


def _salvage(raw: bytes, header_key: str, cause: BadBodyError) -> LogBody:
    """Read the lines of a body that is broken somewhere, one at a time; the broken ones become bad lines."""
    node_key = header_key or node_key_in(raw)
    if not node_key:
        raise cause
    body = LogBody(node_key=node_key)
    text = raw.decode("utf-8", "replace")
    for line in _objects(text, text.find("[", text.find('"data"'))):
        if isinstance(line, dict):
            read_lines(body, [line], "", Reading(0, exact=True))
        else:
            keep_bad(body, BadLine(reason=str(cause), sample=sample_of(line)))
            if len(body.bad) >= BAD_LINES_A_BODY:
                break
    if not (body.results or body.statuses or body.bad):
        keep_bad(body, BadLine(reason=str(cause), sample=sample_of(text)))
    return body


def _objects(text: str, start: int) -> Iterator[dict[str, Any] | str]:
    """Yield each object that parses, and as text the stretch up to the next line where one does not."""
    decoder = json.JSONDecoder(strict=False)
    position = start + 1
    while start >= 0 and (position := text.find("{", position)) >= 0:
        try:
            value, position = decoder.raw_decode(text, position)
            yield value
            if text[position : position + 20].lstrip().startswith("]"):
                return
        except (ValueError, RecursionError):
            yield text[position : position + SAMPLE_CHARS]
            following = _LINE_START.search(text, position + 1)
            if following is None:
                return
            position = following.start()


_LINE_START = re.compile(r'\{\s*"(?:snapshot|diffResults|name|hostIdentifier|columns|action|decorations)"\s*:')
"""Where a log line may begin: an object whose first key is one that lines begin with."""


def keep_bad(body: LogBody, line: BadLine) -> None:
    """Add a bad line to a body, up to a number of them."""
    if len(body.bad) < BAD_LINES_A_BODY:
        body.bad.append(line)


def text_of(value: Any) -> str:
    """Return a JSON string as it is and anything else as an empty string."""
    return value if isinstance(value, str) else ""


def sample_of(value: Any) -> str:
    """The beginning of a JSON value, for people to see."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))[:SAMPLE_CHARS]


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "missing"}
    return names.get(type(value), "a number")
