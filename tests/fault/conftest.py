"""Every fault that both databases can have is tested on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server import Server, database_of, muster


@dataclass(frozen=True)
class Made:
    """A database that ``muster init`` made."""

    kind: str
    url: str
    secret: str


def made(kind: str, url: str) -> Made:
    return Made(kind, url, json.loads(muster("init", "--database", url, "--json").stdout)["enroll_secret"])


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    """A database of each kind in turn."""
    with database_of(request.param, tmp_path) as url:
        yield made(request.param, url)


@pytest.fixture(autouse=True, scope="module")
def nothing_goes_on() -> Iterator[None]:
    """A test that failed may leave its server running."""
    yield
    while Server.running:
        Server.running[-1].kill()
