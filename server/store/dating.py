"""Dating the lines of bodies, before anything else is done with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from server.normalize.dating import DEVICE, RECEIVED, Dated, Stretch, date_times, plain
from server.normalize.times import DAY
from server.store.clocks import clocks_of, found_off, keep_stretches, seconds_seen, stretches_of
from server.store.driver import Transaction
from server.store.rejects import bad_line
from server.wire.messages import BadLine, Gap, LogBody, ResultLine, StatusLine


@dataclass(slots=True)
class DatedLines:
    """The lines of a body in our time, and those that cannot be dated or are too old.

    ``doubtful`` says that some were dated by their arrival: the device's clock should be read soon.
    """

    results: list[ResultLine] = field(default_factory=list)
    statuses: list[StatusLine] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    doubtful: bool = False


async def date_bodies(
    tx: Transaction, bodies: Sequence[tuple[int, LogBody]], now: float, max_age: int
) -> list[DatedLines]:
    """Date the lines of bodies that arrive now, each with the number of its device, in their order.

    ``max_age`` is in seconds. The same lines again are dated the same. Takes one look-up for all devices whose clocks
    were never found to be off.
    """
    dating = _Dating(tx, int(now), max_age, await found_off(tx, sorted({device_no for device_no, _ in bodies})))
    return [await dating.date(device_no, body) for device_no, body in bodies]


class _Dating:
    """The dating of one group of bodies. ``off`` are the devices of which stretches are, or must be, kept."""

    def __init__(self, tx: Transaction, now: int, max_age: int, off: set[int]) -> None:
        self._tx = tx
        self._now = now
        self._max_age = max_age
        self._off = off
        self._taken: dict[int, set[int]] = {}

    async def date(self, device_no: int, body: LogBody) -> DatedLines:
        times = {line.unix_time for line in body.results} | {line.unix_time for line in body.statuses}
        if body.gaps:
            times |= {time for gap in body.gaps for time in (gap.first_at, gap.last_at)}
        if device_no not in self._off and plain(times, self._now, self._max_age):
            self._taken.setdefault(device_no, set()).update(times)
            return DatedLines(body.results, body.statuses, gaps=body.gaps)
        dated = await self._dated(device_no, times)
        by_arrival = [stretch for stretch in dated.stretches if stretch.basis == RECEIVED]
        done = DatedLines(doubtful=any(s.first_at <= time <= s.last_at for s in by_arrival for time in times))
        for line in body.results:
            if (when := self._when(line, dated, done)) is not None:
                done.results.append(line if when == line.unix_time else replace(line, unix_time=when))
        for status in body.statuses:
            if (when := self._when(status, dated, done)) is not None:
                done.statuses.append(status if when == status.unix_time else replace(status, unix_time=when))
        done.gaps += [self._gap(gap, dated) for gap in body.gaps]
        return done

    def _gap(self, gap: Gap, dated: Dated) -> Gap:
        """A gap in our time. What has none is of now: a loss is told of, however it is dated."""
        ends = [dated.when.get(time) for time in (gap.first_at, gap.last_at)]
        first, last = sorted(self._now if end is None else end for end in ends)
        return replace(gap, first_at=first, last_at=last)

    async def _dated(self, device_no: int, times: Iterable[int]) -> Dated:
        known = await stretches_of(self._tx, device_no)
        clocks = await clocks_of(self._tx, device_no)
        dated = date_times(times, known, clocks, self._now, self._max_age)
        if dated.stretches and not known:
            # From now on its seconds are kept; so are those that were dated when that was not needed.
            taken = {*await seconds_seen(self._tx, device_no), *self._taken.get(device_no, ())}
            if taken:
                covered = [Stretch(min(taken), max(taken), 0, DEVICE)]
                dated = date_times(times, covered, clocks, self._now, self._max_age)
        if dated.stretches:
            self._off.add(device_no)
        else:
            self._taken.setdefault(device_no, set()).update(dated.when)
        if list(dated.stretches) != known:
            await keep_stretches(self._tx, device_no, known, dated.stretches, self._now)
        return dated

    def _when(self, line: ResultLine | StatusLine, dated: Dated, done: DatedLines) -> int | None:
        """Our time of a line; None, and a reason why, for one that has none or is too old."""
        when = dated.when.get(line.unix_time)
        if when is not None and when >= self._now - self._max_age:
            return when
        if when is None and line.unix_time > self._now:
            reason = f"unixTime {line.unix_time} is after the year 9999"
        else:
            reason = f"unixTime {line.unix_time} is older than {self._max_age // DAY} days"
        done.bad.append(bad_line(line, reason))
        return None
