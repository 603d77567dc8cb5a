"""Reading the body of /log, and the lines of an osqueryd.results.log."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from itertools import chain
from typing import Any

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


class _RoundedError(Exception):
    """A number was too large for the fast parser and has lost digits; the body is to be read exactly."""


class _BadLineError(ValueError):
    """This line cannot be stored; the message is the reason."""


def parse_log(raw: bytes, header_key: str = "", familiar: Container[bytes] = ()) -> LogBody:
    """Read a /log body; what is no JSON as a whole is read line by line.

    ``header_key`` is the node key of the request's header, for a body that has none. Snapshots whose rows' digests are
    ``familiar`` are left unread. Raises ``BadBodyError`` only when there is no node key anywhere.
    """
    short, rows = cut(raw)
    if rows:
        try:
            return _parse(short, decode(short), header_key, cut_rows=CutRows(rows, familiar))
        except (_RoundedError, BadBodyError):
            pass  # it is read again, as a whole and with more patience
    try:
        return _parse(raw, decode(raw), header_key)
    except _RoundedError:
        return _parse(raw, decode(raw, exact=True), header_key, exact=True)
    except BadBodyError as error:
        return _salvage(raw, header_key, error)


def _parse(raw: bytes, value: Any, header_key: str, *, exact: bool = False, cut_rows: CutRows | None = None) -> LogBody:
    if not isinstance(value, dict):
        raise BadBodyError(f"body is a JSON {_kind(value)}, not an object")
    body = LogBody(node_key=text_of(value.get("node_key")) or header_key)
    lines = value.get("data")
    if not isinstance(lines, list):
        _keep_bad(body, BadLine(reason=f"data is {_kind(lines)}, not an array of lines", sample=_sample(value)))
        return body
    if len(raw) > limits.LINE_BYTES:  # else no line of it can be over the limit
        lines = [line for line in lines if _short_enough(body, line)]
    _read_lines(body, lines, text_of(value.get("log_type")), exact=exact, cut_rows=cut_rows)
    return body


def _short_enough(body: LogBody, line: Any) -> bool:
    size = len(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
    if size <= limits.LINE_BYTES:
        return True
    name = text_of(line.get("name")) if isinstance(line, dict) else ""
    reason = f"line of {size} characters is longer than {limits.LINE_BYTES}"
    _keep_bad(body, BadLine(reason=reason, sample=_sample(line), name=name[: limits.NAME_CHARS]))
    return False


def parse_file_line(raw: bytes) -> LogBody:
    """Read one line of a results or snapshots log that osquery's filesystem logger wrote."""
    body = LogBody(node_key="")
    try:
        line = decode(raw, exact=True)
    except BadBodyError as error:
        _keep_bad(body, BadLine(reason=str(error), sample=_sample(raw.decode("utf-8", "replace"))))
        return body
    _read_lines(body, [line], "result", exact=True)
    return body


def _read_lines(
    body: LogBody, lines: list[Any], log_type: str, *, exact: bool = False, cut_rows: CutRows | None = None
) -> None:
    if len(lines) > limits.LINES_A_BODY:
        _keep_bad(body, BadLine(reason=f"{len(lines)} lines in one body, {limits.LINES_A_BODY} are read", sample=""))
        lines = lines[: limits.LINES_A_BODY]
    for line in lines:
        try:
            if not isinstance(line, dict):
                raise _BadLineError(f"line is {_kind(line)}, not an object")
            if log_type == "status" or ("severity" in line and "name" not in line):
                body.statuses.append(_status(line))
            else:
                body.results.append(_result(line, exact, cut_rows))
        except _BadLineError as error:
            name = text_of(line.get("name")) if isinstance(line, dict) else ""
            _keep_bad(body, BadLine(reason=str(error), sample=_sample(line), name=name[: limits.NAME_CHARS]))


def _result(line: dict[str, Any], exact: bool, cut_rows: CutRows | None) -> ResultLine:
    raw_rows = cut_rows.of(line.get("snapshot")) if cut_rows else None
    unread = raw_rows is not None and cut_rows is not None and raw_rows.digest in cut_rows.familiar
    if raw_rows:
        line["snapshot"] = [] if unread else read_rows(raw_rows)
    name = line.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > limits.NAME_CHARS:
        raise _BadLineError("line has no usable query name")
    kind, added, removed = _rows(line, exact)
    return ResultLine(
        name=name,
        unix_time=_whole(line, "unixTime"),
        epoch=_whole(line, "epoch", 0),
        counter=_whole(line, "counter", 0),
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
        return "snapshot", _checked(line["snapshot"], "snapshot", exact), []
    if "diffResults" in line:
        # Very old agents sent "" for an empty difference.
        difference = line["diffResults"] or {}
        if not isinstance(difference, dict):
            raise _BadLineError(f"diffResults is {_kind(difference)}, not an object")
        added, removed = difference.get("added", []), difference.get("removed", [])
        return "diff", _checked(added, "added", exact), _checked(removed, "removed", exact)
    if "columns" in line:
        rows = _checked([line["columns"]], "columns", exact)
        if action == "added":
            return "event", rows, []
        if action == "removed":
            return "event", [], rows
        if action == "snapshot":
            return "snapshot_row", rows, []
        raise _BadLineError(f"action {_sample(action)!r} is none of added, removed, snapshot")
    raise _BadLineError("line has none of snapshot, diffResults, columns")


def _checked(rows: Any, where: str, exact: bool) -> list[Row]:
    if rows == "":
        return []
    if not isinstance(rows, list):
        raise _BadLineError(f"{where} is {_kind(rows)}, not an array of rows")
    if len(rows) > limits.ROWS_A_LINE:
        raise _BadLineError(f"{where} has {len(rows)} rows, more than {limits.ROWS_A_LINE}")
    if _plain(rows):
        return rows
    for row in rows:
        if not isinstance(row, dict):
            raise _BadLineError(f"a row of {where} is {_kind(row)}, not an object")
        if len(row) > limits.COLUMNS_A_ROW:
            raise _BadLineError(f"a row of {where} has {len(row)} columns, more than {limits.COLUMNS_A_ROW}")
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
            raise _BadLineError(f"column {column[:100]!r} holds {len(value)} characters")
    elif isinstance(value, float):
        if abs(value) >= _ROUNDED and value.is_integer() and not exact:
            raise _RoundedError
    elif not isinstance(value, _SCALARS):
        raise _BadLineError(f"column {column[:100]!r} holds {_kind(value)}, not a single value")


def _status(line: dict[str, Any]) -> StatusLine:
    return StatusLine(
        unix_time=_whole(line, "unixTime"),
        severity=_whole(line, "severity", 0),
        filename=text_of(line.get("filename")),
        line=_whole(line, "line", 0),
        message=text_of(line.get("message")),
        version=text_of(line.get("version")),
        host_identifier=text_of(line.get("hostIdentifier")),
        decorations=_decorations(line),
    )


def _whole(line: dict[str, Any], key: str, default: int | None = None) -> int:
    value = line.get(key, default)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise _BadLineError(f"{key} is {_sample(value)!r}, not a whole number")


def _salvage(raw: bytes, header_key: str, cause: BadBodyError) -> LogBody:
    """Read the lines of a body that is broken somewhere, one at a time; the broken ones become bad lines."""
    node_key = header_key or node_key_in(raw)
    if not node_key:
        raise cause
    body = LogBody(node_key=node_key)
    text = raw.decode("utf-8", "replace")
    for line in _objects(text, text.find("[", text.find('"data"'))):
        if isinstance(line, dict):
            _read_lines(body, [line], "", exact=True)
        else:
            _keep_bad(body, BadLine(reason=str(cause), sample=_sample(line)))
            if len(body.bad) >= BAD_LINES_A_BODY:
                break
    if not (body.results or body.statuses or body.bad):
        _keep_bad(body, BadLine(reason=str(cause), sample=_sample(text)))
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


def _keep_bad(body: LogBody, line: BadLine) -> None:
    if len(body.bad) < BAD_LINES_A_BODY:
        body.bad.append(line)


def text_of(value: Any) -> str:
    """Return a JSON string as it is and anything else as an empty string."""
    return value if isinstance(value, str) else ""


def _sample(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))[:SAMPLE_CHARS]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "missing"}
    return names.get(type(value), "a number")
