"""The requests a fleet makes most: for live queries and for its config, with nothing new in either."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.catalog.config import Configs
from server.catalog.targets import TargetedDevice
from server.wire import answers
from tests.bench.bodies import PREFIX, key_body, request
from tests.bench.measure import Aim, Line, Sample, paired
from tests.bench.places import enrolled, fresh
from tests.bench.scale import Scale
from tests.bench.servers import Target, bare_serving, muster_serving
from tests.support.stores import shipped_catalog

CONNECTIONS, TLS_CONNECTIONS = 32, 8
DEVICES = 200
PATHS = {"read": "distributed/read", "config": "config"}


def small_requests(kind: str, scale: Scale) -> Iterator[Line]:
    """Empty ``distributed/read`` and an unchanged ``config``, over kept connections and over TLS ones made anew."""
    fixed = {"read": answers.NO_QUERIES, "config": Configs(shipped_catalog()).of(TargetedDevice("", "linux")).body}
    with fresh(kind) as place:
        keys = enrolled(place, DEVICES)
        certificate = _certificate(place.directory)
        for tls in ((), certificate):
            options = ("--tls-cert", str(tls[0]), "--tls-key", str(tls[1])) if tls else ()
            with bare_serving(place.directory, fixed, tls) as bare, muster_serving(place.url, *options) as server:
                if not tls:
                    _tell_the_time(server, keys)
                for name, answer in fixed.items():
                    yield _measured(kind, scale, server, bare, name, answer, keys, tls=bool(tls))


def _tell_the_time(server: Target, keys: Sequence[str]) -> None:
    """Answer what every device is asked after it enrolled, so that there is nothing to ask for hours."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for key in keys:
        connection.request("POST", f"{PREFIX}distributed/read", key_body(key))
        asked = orjson.loads(connection.getresponse().read())["queries"]
        rows = {name: [{"unix_time": str(int(time.time())), "total_seconds": "86400"}] for name in asked}
        answer = {"node_key": key, "queries": rows, "statuses": dict.fromkeys(rows, 0)}
        connection.request("POST", f"{PREFIX}distributed/write", orjson.dumps(answer))
        connection.getresponse().read()
    connection.close()


def _measured(
    kind: str, scale: Scale, server: Target, bare: Target, name: str, answer: bytes, keys: Sequence[str], *, tls: bool
) -> Line:
    count = scale.of(1000 if tls else 8000)
    connections = TLS_CONNECTIONS if tls else CONNECTIONS

    def load(target: Target, path: str) -> Sample:
        requests = [request(path, key_body(keys[n % len(keys)]), close=tls) for n in range(count)]
        return target.load(requests, answer, connections, tls_each=tls)

    path = PATHS[name]
    taken = paired(scale.rounds, lambda _: load(server, PREFIX + path), lambda _: load(bare, f"/fixed/{name}"))
    return Line(
        name=f"{'unchanged' if path == 'config' else 'empty'} {path}, {'TLS each time' if tls else 'keep-alive'}",
        database=kind,
        value=taken.value,
        unit="requests/s",
        limit=taken.limit,
        ratio=taken.ratio,
        aim=None if tls else Aim(at_least=0.50),
        facts={
            "requests": count,
            "connections": connections,
            "answer_bytes": len(answer),
            **taken.facts(),
        },
    )


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate on P-256, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
