"""What speaks of the store runs on both databases; one database for each module where its tests can share it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Server, database_of, serving


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the database; whatever asks for it runs once on each."""
    return str(request.param)


@pytest.fixture(scope="module")
def running(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server that the module's tests share, with what ``muster init`` printed."""
    with (
        database_of(kind, tmp_path_factory.mktemp("shared")) as url,
        serving(tmp_path_factory.mktemp("serving"), database=url) as (server, made),
    ):
        yield server, made


@pytest.fixture
def server(running: tuple[Server, dict[str, str]]) -> Server:
    """That server."""
    return running[0]


@pytest.fixture
def empty(kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of the test's own that ``muster init`` has not seen."""
    with database_of(kind, tmp_path) as url:
        yield url


@pytest.fixture
def own_name(request: pytest.FixtureRequest, kind: str) -> str:
    """The test's name without the database: what its device is called."""
    return str(request.node.name).replace(f"[{kind}]", "").replace(f"[{kind}-", "[")
