"""Every benchmark there is, in the order of DESIGN §9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.channels import idle_channels
from tests.bench.collecting import log_calls, spooled_lines
from tests.bench.fleet import fleet_of_devices
from tests.bench.growth import stored_bytes
from tests.bench.idle import idle_device
from tests.bench.ingest import new_rows, unchanged_snapshots
from tests.bench.judging import judging_a_day
from tests.bench.measure import Line
from tests.bench.places import KINDS
from tests.bench.posture import posture_of_a_day
from tests.bench.scale import Scale
from tests.bench.small import small_requests
from tests.bench.verdict import answer_to_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A benchmark: what is measured, against what, and why that is fair."""

    name: str
    measure: Callable[[str, Scale], Iterator[Line]]
    reading: str
    """Where it goes into the page, white space plays no part."""
    load: bool = False
    """Only run by ``make bench-load``: it takes minutes."""
    databases: tuple[str, ...] = KINDS
    """Those the server is measured on: one where it makes no difference."""


BENCHES = (
    Bench(
        name="new-rows",
        measure=new_rows,
        reading="""
            Every body is the first answer of another device to the shipped query `users`: 50 rows of 6 typed
            columns, none known before, over 64 kept connections. The limit on SQLite is one connection (WAL,
            `synchronous=FULL`) that puts the same rows, typed and digested beforehand, with `executemany` into
            a table made by the same statements (columns, both indexes), with as many rows a transaction as the
            server had on average in the round before (`bodies_a_commit`): concurrent requests share a commit,
            and a limit that paid more or fewer commits would not be the same durability. On Postgres it is
            `COPY` into such a table of another schema of the same database, with as many rows a transaction.
            Value and limit grow alike: round by round both tables hold equally many rows.
        """,
    ),
    Bench(
        name="unchanged",
        measure=unchanged_snapshots,
        reading="""
            Devices repeat a snapshot of 200 rows (32 KB), each with the time a minute on, as an hourly query
            does nearly always; the rows are the same bytes in the same order. The limit is an aiohttp handler
            on uvloop that reads the same body, `orjson.loads` it and answers `{}`. `no_row_written` says that
            afterwards the query's table has as many rows as before, and none that a later commit touched.
        """,
    ),
    Bench(
        name="small",
        measure=small_requests,
        reading="""
            What a fleet asks most: `distributed/read` with nothing to ask, and the config, unchanged. The limit
            is an aiohttp handler on uvloop that returns the same bytes without a look at the request. With TLS
            each time (a full handshake on P-256, as osqueryd makes one for every request) the client works as
            hard as the server, so that figure shows the order of magnitude only.
        """,
    ),
    Bench(
        name="judging",
        measure=judging_a_day,
        reading="""
            25 of the shipped controls over devices of three platforms which answered every query of theirs on
            that day; on one device in fifty a verdict changed since the day before. The limit is to fetch once,
            through the same driver, all the verdicts rest on: the devices, the rows true at the end of the day,
            and when each device last answered.
            Controls share queries, so `limit_fetched_for_each_control` says what it takes to fetch them as often
            as a control and platform reads them. `cpu_us_a_verdict` is of this process: with SQLite all there is,
            with Postgres without the server's. `--full` takes 100,000 devices.
        """,
    ),
    Bench(
        name="posture",
        measure=posture_of_a_day,
        reading="""
            `SELECT * FROM posture WHERE day = …`, all rows fetched, with a year of verdicts written beforehand
            in which each device changed every fifty days. The value is the slowest of the year's first, middle
            and last day; the facts have `posture_totals` and `posture_rates` too. Then what the API, `muster posture`,
            `/metrics` and the console ask for on the last day, on which a third of the verdicts of a device that
            changed have been failing since; the first page's failures are counted once in 15 seconds.
        """,
    ),
    Bench(
        name="growth",
        measure=stored_bytes,
        reading="""
            Every device answers the whole shipped library every hour; one in fifty upgrades five packages a
            day. Inventories have 800 (Debian), 200 (macOS) and 150 (Windows) rows. The value is what the
            database grew by; the limit is what the same rows take in tables of the same database that have
            device, interval and values, and no index. `--full` takes a year; a shorter time is the harder case,
            because what is stored once weighs less in a year.
        """,
    ),
    Bench(
        name="verdict",
        measure=answer_to_verdict,
        reading="""
            The worst case: the answer arrives right after the server has judged the running day, and waits for
            the next time. Measured from the request until `posture` says otherwise.
        """,
    ),
    Bench(
        name="channels",
        measure=idle_channels,
        reading="""
            Collectors with a channel open, greeted, told their config and asked the time, then idle: what the server's
            resident memory grew by, for each, and its share of a processor meanwhile (`idle_cpu`). Then another process
            puts one question to all of them; measured from its commit until the last channel has it. The clients run
            on the same machine, in one process.
        """,
    ),
    Bench(
        name="collector-idle",
        measure=idle_device,
        databases=("sqlite",),
        reading="""
            The collector of one device that is enrolled with a `muster serve`, has the config of the shipped packs,
            holds its channel open, and has taken and delivered the day's evidence: then nothing happens for a minute
            but what happens by itself, with one hello at least. osqueryd is the stand-in of the tests, which pings an
            extension every three seconds as osqueryd does; it is not counted. In the recommended set-up osqueryd logs
            by itself and there is one process, the uplink; as an extension there are that and two more, the one which
            osqueryd starts and the one that it keeps running. The memory is the sum of the processes' proportional
            set sizes: their own pages, and their share of those that several processes have; `resident_mb` is the sum
            of what each has mapped, in which the interpreter counts once for each. The server and this benchmark run on
            the same interpreter and share pages of it: where nothing else does, the memory is between the two.
            The limit is a Python interpreter
            that has imported nothing and sleeps, in the same run; it is shown for comparison, and the aims are about
            the values. The CPU is all processes' time, threads that ended included, in % of one core.
        """,
    ),
    Bench(
        name="collector-log",
        measure=log_calls,
        databases=("sqlite",),
        reading="""
            A line logged to the extension, one after the other, each over a connection of its own as osqueryd makes
            them, until it is answered: on the disk by then. The limit is the same client and a Thrift server that
            answers at once and does nothing with the line.
        """,
    ),
    Bench(
        name="collector-spool",
        measure=spooled_lines,
        databases=("sqlite",),
        reading="""
            Lines of 1 KB put into the spool one at a time, each on the disk when `put` returns. The limit appends the
            same bytes to a file, with an `fdatasync` after each.
        """,
    ),
    Bench(
        name="fleet",
        measure=fleet_of_devices,
        load=True,
        reading="""
            `muster simulate` with 10,000 devices, never asleep, hourly queries every minute (`--speed 60`), all
            else as osqueryd does it: gzip, a log request every 10 s where there is something to send,
            `distributed/read` every minute. The simulator runs on the same machine and takes its share of the
            processors. Errors are answers that osquery would take for a failure, timeouts (16 s) and broken
            connections.
        """,
    ),
)
