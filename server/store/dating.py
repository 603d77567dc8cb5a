"""Dating the lines of a body, before anything else is done with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from server.normalize.dating import DEVICE, RECEIVED, Dated, Stretch, date_times, plain
from server.store.clocks import clocks_of, keep_stretches, needs_no_care, seconds_seen, stretches_of
from server.store.driver import Transaction
from server.wire.messages import BadLine, LogBody, ResultLine, StatusLine

DAY = 86_400
SAMPLE_CHARS = 1000


@dataclass(slots=True)
class DatedLines:
    """The lines of a body in our time, and those that cannot be dated or are too old.

    ``doubtful`` says that some were dated by their arrival: the device's clock should be read soon.
    """

    results: list[ResultLine] = field(default_factory=list)
    statuses: list[StatusLine] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    doubtful: bool = False


async def date_lines(tx: Transaction, device_no: int, body: LogBody, now: float, max_age: int) -> DatedLines:
    """Date a body's lines that arrive now; ``max_age`` in seconds. The same lines again are dated the same."""
    lines: list[ResultLine | StatusLine] = [*body.results, *body.statuses]
    times = {line.unix_time for line in lines}
    if plain(times, int(now), max_age) and await needs_no_care(tx, device_no):
        return DatedLines(body.results, body.statuses)
    dated = await _dated(tx, device_no, times, int(now), max_age)
    by_arrival = [stretch for stretch in dated.stretches if stretch.basis == RECEIVED]
    done = DatedLines(doubtful=any(s.first_at <= time <= s.last_at for s in by_arrival for time in times))
    for line in lines:
        when = dated.when.get(line.unix_time)
        if when is None and line.unix_time > now:
            done.bad.append(_bad(line, f"unixTime {line.unix_time} is after the year 9999"))
        elif when is None or when < now - max_age:
            done.bad.append(_bad(line, f"unixTime {line.unix_time} is older than {max_age // DAY} days"))
        elif isinstance(line, ResultLine):
            done.results.append(line if when == line.unix_time else replace(line, unix_time=when))
        else:
            done.statuses.append(line if when == line.unix_time else replace(line, unix_time=when))
    return done


async def _dated(tx: Transaction, device_no: int, times: set[int], now: int, max_age: int) -> Dated:
    clocks = await clocks_of(tx, device_no)
    known = await stretches_of(tx, device_no)
    dated = date_times(times, known, clocks, now, max_age)
    if dated.stretches and not known:
        # From now on its seconds are kept; so are those that were dated when that was not needed.
        seen = await seconds_seen(tx, device_no)
        if seen:
            dated = date_times(times, [Stretch(*seen, 0, DEVICE)], clocks, now, max_age)
    if list(dated.stretches) != known:
        await keep_stretches(tx, device_no, known, dated.stretches, now)
    return dated


def _bad(line: ResultLine | StatusLine, reason: str) -> BadLine:
    if isinstance(line, ResultLine):
        return BadLine(reason=reason, sample=str(line.added[:3])[:SAMPLE_CHARS], name=line.name)
    return BadLine(reason=reason, sample=line.message[:SAMPLE_CHARS])
