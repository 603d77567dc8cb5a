"""The policy in force: asked before every statement that the collector would run on osqueryd."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from collector.policy.file import Loaded, Signature, load_file, signature
from collector.policy.reading import Reader, Reads, UnreadableError
from collector.policy.rules import Rules
from collector.policy.tables import GivenTables, Tables, TableSource

log = logging.getLogger(__name__)


class Policy:
    """What this device refuses. Safe to use from several threads.

    The file is looked at before every answer, so that an edit holds from the next statement on.
    """

    def __init__(self, path: Path, source: TableSource, owner: int) -> None:
        self.path = path
        self._source = source
        self._owner = owner
        self._lock = threading.Lock()
        self._judging = threading.RLock()
        self._loaded = Loaded(Rules())
        self._signature: Signature | None = None
        self._reader: Reader | None = None
        self._reader_of: tuple[Tables, Rules] | None = None
        self._read()

    @classmethod
    def load(cls, path: Path, source: TableSource | None = None, *, owner: int = 0) -> Policy:
        """Never raises: a file that cannot be trusted is a policy that refuses everything. ``owner`` is for tests."""
        return cls(path, source or GivenTables(None), owner)

    @property
    def rules(self) -> Rules:
        """What is denied now."""
        return self._current().rules

    @property
    def problem(self) -> str:
        """Why the file cannot be used and how to mend it; then everything is refused. Empty: it can."""
        return self._current().problem

    def check(self, sql: str, *, live: bool) -> str | None:
        """Why a statement may not run, or None. ``live``: it is not one of the config's queries."""
        loaded = self._current()
        if loaded.problem:
            return loaded.problem
        if live and loaded.rules.deny_live:
            return "live questions are not answered by this device (deny_live)"
        if not loaded.rules.reads:
            return None
        with self._judging:
            return self._judged(sql, loaded.rules)

    def describe(self) -> str:
        """The policy in one line; empty if nothing is denied."""
        loaded = self._current()
        if loaded.problem:
            return loaded.problem
        rules = loaded.rules
        parts = ["live questions"] if rules.deny_live else []
        if rules.tables:
            parts.append(f"the table{'s' if len(rules.tables) > 1 else ''} {', '.join(sorted(rules.tables))}")
        if rules.columns:
            names = sorted(f"{table}.{column}" for table, column in rules.columns)
            parts.append(f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}")
        return f"denies {'; '.join(parts)}" if parts else ""

    def tables(self) -> Tables | None:
        """The tables that statements are held against; None as long as they are not known."""
        return self._source.tables()

    def unknown(self) -> list[str]:
        """Entries of the policy that fit nothing this device's osqueryd has: often a slip of the pen."""
        rules, tables = self.rules, self._source.tables()
        if tables is None or not rules.reads:
            return []
        have = {name.lower(): {one.lower() for one in of} for name, of in tables.columns.items()}
        views = frozenset(name.lower() for name in tables.views)
        found = [
            entry
            for entry in rules.tables
            if not any(Rules(tables=frozenset({entry})).denies_table(name) for name in (*have, *views))
        ]
        for table, column in rules.columns:
            one = Rules(columns=frozenset({(table, column)}))
            if table not in views and not any(
                one.denies_column(name, of) for name, known in have.items() for of in known
            ):
                found.append(f"{table}.{column}")
        return sorted(found)

    def _current(self) -> Loaded:
        with self._lock:
            # A folder that was mended leaves the file as it was, so a problem is always looked at again.
            if self._loaded.problem or signature(self.path) != self._signature:
                self._read()
            return self._loaded

    def _read(self) -> None:
        self._signature = signature(self.path)
        self._loaded = load_file(self.path, self._owner)

    def _judged(self, sql: str, rules: Rules) -> str | None:
        try:
            tables = self._source.tables()
            if tables is None:
                return "it cannot be told what it reads (osqueryd has not said yet which tables it has)"
            reads = self._reader_for(tables, rules).reads(sql)
            return _denied(reads, self._widened(tables, rules))
        except UnreadableError as error:
            return f"it cannot be told what it reads ({error})"
        except Exception:  # whatever it is, what was not judged does not run
            log.exception("a statement could not be judged: %.500s", sql)
            return "it cannot be told what it reads (the collector failed over it; its log says how)"

    def _reader_for(self, tables: Tables, rules: Rules) -> Reader:
        if self._reader is None or self._reader.worn or self._reader_of != (tables, rules):
            if self._reader is not None:
                self._reader.close()
            self._reader = Reader(tables, rules.columns)
            self._reader_of = (tables, rules)
        return self._reader

    def _widened(self, tables: Tables, rules: Rules) -> Rules:
        """The rules, where an entry names a view (as osquery's other names for tables are) with the view's tables."""
        views = {name.lower(): name for name in tables.views}
        more_tables: set[str] = set()
        more_columns: set[tuple[str, str]] = set()
        for view in views:
            entry = rules.denies_table(view)
            if entry:
                more_tables |= self._reads_of_view(views[view], tables, rules).tables
            more_columns |= {
                (table, column)
                for of_view, column in rules.columns
                if of_view == view
                for table in self._reads_of_view(views[view], tables, rules).tables
            }
        return Rules(deny_live=rules.deny_live, tables=rules.tables | more_tables, columns=rules.columns | more_columns)

    def _reads_of_view(self, view: str, tables: Tables, rules: Rules) -> Reads:
        try:
            return self._reader_for(tables, rules).reads(f'SELECT * FROM "{view.replace(chr(34), chr(34) * 2)}"')
        except UnreadableError:
            return Reads(frozenset(), frozenset())


def _denied(reads: Reads, rules: Rules) -> str | None:
    """Which rule a statement's reading breaks, in words."""
    for table in sorted(reads.tables):
        entry = rules.denies_table(table)
        if entry:
            return f"it reads the table {table}, which is denied (deny_tables{_entry(entry, table)})"
    for table, column in sorted(reads.columns):
        entry = rules.denies_column(table, column)
        if entry:
            name = f"{table}.{column}"
            return f"it reads the column {name}, which is denied (deny_columns{_entry(entry, name)})"
    return None


def _entry(entry: str, name: str) -> str:
    return "" if entry == name else f": {entry}"
