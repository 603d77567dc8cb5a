"""Putting the parts together: the one place that knows which database is in use."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import signal
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from server import console
from server.api import asking, channel, collector, exemptions, metrics, osquery, people, posture
from server.api.channels import CHANNELS, Channels
from server.api.gate import ARRIVING_BYTES, Gate
from server.api.keys import ARRIVING, ASKER, CLONES, GATE, PRESENCE, STORE, Presence
from server.applying import settle
from server.catalog.catalog import load_catalog
from server.drivers.postgres import open_postgres
from server.drivers.postgres_ask import PostgresAsker, user_of
from server.drivers.postgres_findings import examine_postgres
from server.drivers.postgres_scratch import scratch_postgres
from server.drivers.sqlite import BUSY_SECONDS, PATIENT_SECONDS, open_sqlite
from server.drivers.sqlite_ask import SqliteAsker
from server.drivers.sqlite_findings import examine_sqlite
from server.notify.tell import Telling
from server.store.ask import Asker
from server.store.clones import Clones
from server.store.driver import Driver, NotReadyError, StoreError, Work
from server.store.findings import Finding
from server.store.in_force import InForce, Part, load_in_force
from server.store.migrate import migrate, require_current
from server.store.minimise_key import settled_key
from server.store.reload import KeyOf
from server.store.store import Store
from server.worker import Keep, Worker

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10.0
"""How long requests under way may take to finish when the server is told to stop."""


@dataclass(frozen=True, slots=True)
class Database:
    """An opened database: what stores, and what answers users' SQL."""

    driver: Driver
    asker: Asker


class UsageError(Exception):
    """An option cannot be understood; the message names it."""


def shipped_packs() -> Path:
    """The packs that come with Muster: inside the installed package, or in the checkout."""
    installed = Path(__file__).parent / "_packs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "packs"


def on_postgres(url: str) -> bool:
    """Whether a database's URL is one of Postgres."""
    return url.startswith(("postgresql://", "postgres://"))


def sqlite_path(url: str) -> Path:
    """The file of a ``sqlite:///PATH`` URL; four slashes begin an absolute path. Raises ``UsageError``."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path == ":memory:":
        raise UsageError(f"--database {shown(url)!r} is not of the form sqlite:///PATH or postgresql://HOST/NAME")
    return Path(path)


def shown(url: str) -> str:
    """A database's URL without its password, however it is written."""
    url = re.sub(r"^((?:\w+:/+)?[^:@]*):.*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", url)


@asynccontextmanager
async def opened_database(
    url: str, *, create: bool = False, sql_database: str | None = None, busy_seconds: float = PATIENT_SECONDS
) -> AsyncIterator[Database]:
    """Open a database and close it again; ``sql_database`` is the URL that users' SQL on Postgres takes, if another.

    A transaction on SQLite waits ``busy_seconds`` for another process's; on Postgres writers stand in one line.
    Raises ``NotReadyError`` or ``UsageError``.
    """
    driver: Driver
    _check_reader(url, sql_database)
    if on_postgres(url):
        driver = await open_postgres(url, create=create)
        database = Database(driver, PostgresAsker(driver, url, sql_database))
    else:
        path = sqlite_path(url)
        driver = open_sqlite(path, create=create, busy_seconds=busy_seconds)
        database = Database(driver, SqliteAsker(path))
    try:
        yield database
    finally:
        await driver.close()


def _check_reader(url: str, sql_database: str | None) -> None:
    if sql_database is None:
        return
    if not on_postgres(url) or not on_postgres(sql_database):
        raise UsageError("--sql-database goes with Postgres: both URLs are postgresql://ROLE:PASSWORD@HOST/NAME")
    try:
        user_of(sql_database)
    except ValueError as error:
        raise UsageError("--sql-database names no role: postgresql://ROLE:PASSWORD@HOST/NAME") from error


async def examine(url: str, work: Work[list[Finding]], *, whole: bool) -> list[Finding]:
    """Look at a database without changing it; ``work`` is what every one is asked, ``whole`` reads all of a file."""
    if on_postgres(url):
        return await examine_postgres(url, work)
    path = sqlite_path(url)
    return await asyncio.to_thread(examine_sqlite, path, _lock_file(path), work, whole=whole)


@asynccontextmanager
async def opened_store(
    url: str,
    packs: Path | None,
    *,
    max_age_days: int = 90,
    clock: Callable[[], float] = time.time,
    ingests: bool = False,
    serves: bool = False,
    key_file: Path | None = None,
    sql_database: str | None = None,
) -> AsyncIterator[tuple[Store, Database]]:
    """Open a migrated database with the catalog under ``packs``, or the packs in force. Raises ``CatalogError`` too.

    A store that ``ingests`` gets the key of minimisation's hashes, if a rule needs one. One that ``serves`` puts
    ``packs`` into force.
    """
    busy_seconds = BUSY_SECONDS if serves else PATIENT_SECONDS
    async with opened_database(url, sql_database=sql_database, busy_seconds=busy_seconds) as database:
        driver = database.driver
        await require_current(driver)
        if serves:
            in_force = await settle(driver, packs, shipped_packs(), "serve", clock())
        else:
            in_force = await packs_for(driver, packs)
        key = await key_of(driver, url, key_file, in_force) if ingests else None
        store = Store(driver, in_force, max_age_days=max_age_days, clock=clock, minimise_key=key)
        await store.ship()
        yield store, database


async def packs_for(driver: Driver, packs: Path | None) -> InForce:
    """A folder's packs; without a folder those in force, or, before any were, those that come with Muster."""
    found = await load_in_force(driver) if packs is None else None
    return found or InForce(Part(load_catalog(packs or shipped_packs())))


async def key_of(driver: Driver, url: str, key_file: Path | None, in_force: InForce) -> bytes | None:
    """The key with which rules of these packs hash; None where none does."""
    if not any(catalog.minimisation.hashing() for catalog in in_force.catalogs):
        return None
    return await settled_key(driver, minimise_key_file(url, key_file))


@asynccontextmanager
async def scratch_database(server: str | None = None) -> AsyncIterator[Driver]:
    """A migrated, empty database that is gone afterwards: a temporary file, or one on the server of a URL of Postgres.

    The database that the URL names is not touched. Raises ``NotReadyError``.
    """
    if server is not None:
        async with scratch_postgres(server) as driver:
            await migrate(driver, time.time())
            yield driver
        return
    with tempfile.TemporaryDirectory(prefix="muster-") as folder:
        async with opened_database(f"sqlite:///{Path(folder) / 'scratch.db'}", create=True) as database:
            await migrate(database.driver, time.time())
            yield database.driver


def minimise_key_file(url: str, given: Path | None) -> Path:
    """Where the key of minimisation's hashes is: as given, else beside a SQLite file. Raises ``UsageError``."""
    if given is not None:
        return given
    if on_postgres(url):
        raise UsageError("rules of minimise.yaml hash: give --minimise-key-file, the same file on every server")
    path = sqlite_path(url)
    return path.with_name(f"{path.name}-minimise-key")


def web_app(store: Store, asker: Asker) -> web.Application:
    """The whole HTTP application over an opened store."""
    app = web.Application(
        middlewares=[
            osquery.osquery_errors,
            collector.collector_errors,
            people.bearer,
            console.guard(apart_from=people.PATHS),
        ]
    )
    app[STORE] = store
    app[ASKER] = asker
    app[CLONES] = Clones(store)
    app[GATE], app[ARRIVING] = Gate(), Gate(ARRIVING_BYTES)
    app[PRESENCE] = Presence()
    app[CHANNELS] = channels = Channels(store, app[PRESENCE])
    app.cleanup_ctx.append(channels.attend)
    app.on_shutdown.append(channels.shut)
    app[collector.UNDER_WAY] = collector.UnderWay()
    app.add_routes(osquery.routes())
    app.add_routes(collector.routes())
    app.add_routes(channel.routes())
    app.add_routes(exemptions.routes())
    app.add_routes(people.routes())
    app.add_routes(asking.routes())
    app.add_routes(posture.routes())
    metrics.attach(app, store)
    console.attach(app, store)
    return app


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What ``muster serve`` was told."""

    database: str
    packs: Path | None
    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_age_days: int = 90
    key_file: Path | None = None
    keep: Keep = field(default_factory=Keep)
    sql_database: str | None = None
    telling: Telling = field(default_factory=Telling)


async def serve(options: ServeOptions, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. ``ready`` is given the address once requests are answered."""
    stop = _stop_signal()
    with _server_lock(options.database):
        async with opened_store(
            options.database,
            options.packs,
            max_age_days=options.max_age_days,
            ingests=True,
            serves=True,
            key_file=options.key_file,
            sql_database=options.sql_database,
        ) as (store, database):
            app = web_app(store, database.asker)
            worker = Worker(store, app[PRESENCE], options.keep, key_of=_key_of(options, store), telling=options.telling)
            app[CHANNELS].hellos.server = worker.server
            # wire.body inflates: it keeps to the limits of the endpoint.
            runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS, access_log=None)
            await runner.setup()
            try:
                site = web.TCPSite(runner, options.host, options.port, ssl_context=_tls(options))
                await site.start()
                await worker.start()
                ready(_address(runner, options))
                await stop.wait()
            finally:
                await runner.cleanup()
                await worker.stop()


def _key_of(options: ServeOptions, store: Store) -> KeyOf:
    async def key(in_force: InForce) -> bytes | None:
        try:
            return await key_of(store.driver, options.database, options.key_file, in_force)
        except UsageError as error:
            raise StoreError(str(error)) from error

    return key


@contextmanager
def _server_lock(url: str) -> Iterator[None]:
    """Two servers on one file would each believe its caches; the lock dies with the process. Postgres needs none."""
    if on_postgres(url):
        yield
        return
    path = sqlite_path(url)
    if not path.is_file():
        raise NotReadyError(f"There is no database at {path}: run 'muster init' with the same --database first.")
    try:
        lock = _lock_file(path).open("w", encoding="utf-8")
    except OSError as error:
        raise NotReadyError(f"{path.parent} cannot be written to: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NotReadyError(f"Another 'muster serve' has {path} open: one server a SQLite file.") from error
        yield


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}-server")


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None and options.tls_key is None:
        return None
    if options.tls_cert is None or options.tls_key is None:
        raise UsageError("--tls-cert and --tls-key go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate or key cannot be used: {error}") from error
    return context


def _address(runner: web.AppRunner, options: ServeOptions) -> str:
    host, port = runner.addresses[0][:2]
    scheme = "https" if options.tls_cert else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in str(host) else f"{scheme}://{host}:{port}"


def _stop_signal() -> asyncio.Event:
    """Set once the process is told to end; from then on a second signal ends it at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def told() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, told)
    return stop
