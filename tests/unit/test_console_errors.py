"""What a visitor sees when the console itself fails."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server.console import attach, guard
from server.console.guard import CONTENT_POLICY
from server.store.driver import DatabaseUnavailableError


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError("secret detail")


async def unavailable(_request: web.Request) -> web.Response:
    raise DatabaseUnavailableError("disk I/O error at /var/lib/muster")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("/static/broken/x", 500, "server&#39;s log"), ("/static/away/x", 503, "cannot be read")],
)
async def test_failures_look_like_pages_and_tell_no_secrets(
    path: str, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = web.Application(middlewares=[guard(apart_from=("/api/",))])
    attach(app, cast(Any, SimpleNamespace(clock=lambda: 0.0)))
    app.add_routes([web.get("/static/broken/x", broken), web.get("/static/away/x", unavailable)])
    async with TestClient(TestServer(app)) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.get(path)
        text = await answer.text()
    assert answer.status == status
    assert said in text and "secret detail" not in text and "/var/lib" not in text
    assert answer.headers["Content-Security-Policy"] == CONTENT_POLICY
    assert caplog.records
