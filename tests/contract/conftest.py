"""Every promise of the store is tested on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import stores


@pytest.fixture(autouse=True, scope="session")
def copying() -> Iterator[None]:
    with stores.copying():
        yield


@pytest.fixture(autouse=True, params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which database ``open_store`` opens in this test."""
    kind: str = request.param
    with stores.on(kind):
        yield kind
