"""The limits over HTTP: handlers that do nothing but answer, on aiohttp and uvloop as the server is.

``python -m tests.bench.bare DIR [CERT KEY]`` prints its port; ``/fixed/NAME`` answers with the bytes of a file there.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import orjson
import uvloop
from aiohttp import web


async def _parsed(request: web.Request) -> web.Response:
    orjson.loads(await request.read())
    return web.Response(body=b"{}", content_type="application/json")


def _fixed(body: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer


async def _serve(fixed: Mapping[str, bytes], context: ssl.SSLContext | None) -> None:
    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/parsed", _parsed)])
    app.add_routes([web.post(f"/fixed/{name}", _fixed(body)) for name, body in fixed.items()])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    directory, *tls = sys.argv[1:]
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    uvloop.run(_serve({path.name: path.read_bytes() for path in Path(directory).iterdir()}, context))


if __name__ == "__main__":
    main()
