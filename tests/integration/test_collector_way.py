"""The uplink's way to the server: whom it trusts over TLS, what it shows of itself, and the proxy between."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.proxy import proxy
from tests.support.uplink import ScriptedServer, Uplink, scripted_server, uplink


def known(directory: Path, server: ScriptedServer) -> None:
    """Have the device enrolled already."""
    server.keys = ["key-0"]
    (directory / "state").mkdir(mode=0o700)
    (directory / "state" / "node_key").write_text("key-0\n")


async def delivered(device: Uplink) -> None:
    device.put(b'{"n":1}')
    await device.until(lambda: not device.waiting())


async def test_a_custom_authority_is_trusted(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted_server(ours.serving()) as server:
        known(tmp_path, server)
        async with uplink(tmp_path, server.url, ca_file=str(ours.certificate)) as device:
            await delivered(device)
            assert server.lines() == [{"n": 1}]


@pytest.mark.parametrize(
    ("other", "name", "said", "setting"),
    [
        (True, "localhost", "certificate verify failed", "ca_file"),
        (False, "elsewhere.example", "Hostname mismatch", "setting server"),
    ],
    ids=["wrong authority", "wrong name"],
)
async def test_a_server_that_is_not_ours_is_said_and_gets_nothing(
    other: bool, name: str, said: str, setting: str, tmp_path: Path
) -> None:
    ours = Authority(tmp_path)
    theirs = Authority(tmp_path, "another authority") if other else ours
    async with scripted_server(theirs.serving(name)) as server:
        known(tmp_path, server)
        async with uplink(tmp_path, server.url, ca_file=str(ours.certificate)) as device:
            device.put(b'{"n":1}')
            await device.until(lambda: "server's certificate is not accepted: " in device.said())
            assert said in device.said() or "unable to get local issuer" in device.said()
            assert setting in device.said()
            assert not server.requests
            assert device.waiting() == 1


async def test_without_a_ca_file_the_systems_authorities_count(tmp_path: Path) -> None:
    async with scripted_server(Authority(tmp_path).serving()) as server:
        known(tmp_path, server)
        async with uplink(tmp_path, server.url) as device:
            device.put(b'{"n":1}')
            await device.until(lambda: "server's certificate is not accepted: " in device.said())
            assert not server.requests


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    certificate, key = ours.issue("device")
    async with scripted_server(ours.serving(demanding=True)) as server:
        known(tmp_path, server)
        settings = {"ca_file": str(ours.certificate), "client_cert": str(certificate), "client_key": str(key)}
        async with uplink(tmp_path, server.url, **settings) as device:
            await delivered(device)


async def test_a_missing_client_certificate_is_said(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted_server(ours.serving(demanding=True)) as server:
        known(tmp_path, server)
        async with uplink(tmp_path, server.url, ca_file=str(ours.certificate)) as device:
            device.put(b'{"n":1}')
            await device.until(lambda: "asks for a client certificate" in device.said())


async def test_certificates_are_read_again_when_they_change(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "another authority")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(theirs.certificate.read_bytes())
    async with scripted_server(ours.serving()) as server:
        known(tmp_path, server)
        async with uplink(tmp_path, server.url, ca_file=str(trusted)) as device:
            device.put(b'{"n":1}')
            await device.until(lambda: "is not accepted" in device.said())
            trusted.write_text("half a certif")
            await device.until(lambda: "the former ones go on" in device.said())
            trusted.write_bytes(theirs.certificate.read_bytes() + ours.certificate.read_bytes())
            await device.until(lambda: not device.waiting())


async def test_it_goes_through_a_proxy_with_a_password(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted_server(ours.serving()) as server, proxy("user:pa%ss word") as between:
        known(tmp_path, server)
        url = f"http://user:pa%25ss%20word@127.0.0.1:{between.port}"
        async with uplink(tmp_path, server.url, ca_file=str(ours.certificate), proxy=url) as device:
            await delivered(device)
            assert set(between.tunnels) == {server.url.removeprefix("https://")}
            assert "word" not in device.said()


async def test_a_proxy_that_refuses_is_said(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted_server(ours.serving()) as server, proxy("user:password") as between:
        known(tmp_path, server)
        url = f"http://user:hidden@127.0.0.1:{between.port}"
        async with uplink(tmp_path, server.url, ca_file=str(ours.certificate), proxy=url) as device:
            device.put(b'{"n":1}')
            await device.until(lambda: "the proxy refused with 407" in device.said())
            assert "hidden" not in device.said()
            assert not server.requests


@pytest.mark.parametrize("without", ["", "localhost", "none"])
async def test_the_environments_proxy_is_used(without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Authority(tmp_path)
    async with scripted_server(ours.serving()) as server, proxy() as between:
        known(tmp_path, server)
        made = Uplink(tmp_path, server.url, ca_file=str(ours.certificate), proxy="none" if without == "none" else "")
        made.environment |= {"HTTPS_PROXY": f"http://127.0.0.1:{between.port}", "NO_PROXY": without}
        made.start()
        try:
            await delivered(made)
            assert bool(between.tunnels) is not bool(without)
        finally:
            assert made.stop() == 0
            made.spool.close()


async def test_a_proxy_that_is_not_there_is_said(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted_server(ours.serving()) as server:
        known(tmp_path, server)
        async with uplink(
            tmp_path, server.url, ca_file=str(ours.certificate), proxy="http://user:hidden@127.0.0.1:9"
        ) as device:
            device.put(b'{"n":1}')
            await device.until(lambda: "the proxy cannot be reached: " in device.said())
            assert "hidden" not in device.said()
