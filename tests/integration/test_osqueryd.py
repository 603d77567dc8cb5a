"""A real osqueryd, enrolled over TLS against a real server. Runs where MUSTER_OSQUERYD names one."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.catalog.queries import Query
from tests.support import packs
from tests.support.load import stored
from tests.support.server import Server, ask, muster
from tests.support.stores import shipped_catalog

OSQUERYD = os.environ.get("MUSTER_OSQUERYD", "")
SECONDS = int(os.environ.get("MUSTER_OSQUERYD_SECONDS", "60"))
LINUX_QUERIES = [query for (_, platform), query in shipped_catalog().queries.items() if platform == "linux"]

pytestmark = pytest.mark.skipif(not OSQUERYD, reason="MUSTER_OSQUERYD names no osqueryd")


@pytest.mark.timeout(SECONDS + 180)
def test_a_real_agent_enrols_and_fills_the_tables(tmp_path: Path) -> None:
    with agent_of(tmp_path) as (server, agent):
        database = server.database
        wait_for(lambda: ask(database, "SELECT 1 FROM devices") == [[1]], 60)
        judged = "SELECT COUNT(DISTINCT query) FROM coverage WHERE status = 'ok'"
        wait_for(lambda: ask(database, judged)[0][0] >= 5, 60)
        clocks = "SELECT ahead_least, ahead_most, wrong, booted_at < first_read_at FROM clocks"
        wait_for(lambda: ask(database, clocks) != [], 90)
        ((least, most, wrong, booted),) = ask(database, clocks)
        assert -30 <= least <= 0 <= most <= 30 and not wrong and booted, "it runs on this machine, by the same clock"
        time.sleep(max(0, SECONDS - 30))  # how long the agent is watched is what the caller asked for
        assert agent.poll() is None, (tmp_path / "osqueryd.log").read_text()[-3000:]
    it_is_judged(database)
    assert ask(database, "SELECT COUNT(*) > 5 FROM users") == [[1]]
    assert ask(database, "SELECT * FROM rejects") == []
    errors = "SELECT message FROM status_logs WHERE severity >= 2 AND message NOT LIKE '%system dbus%'"
    assert ask(database, errors) == []
    assert server.stop() == 0
    it_runs_what_it_was_served(database)
    assert not [line for line in server.output if "ERROR" in line or "Traceback" in line], server.output
    said = [line for line in (tmp_path / "osqueryd.log").read_text().splitlines() if line.startswith("E")]
    assert not [line for line in said if "system dbus" not in line], said


@pytest.mark.timeout(300)
def test_a_real_agent_answers_now_and_the_verdict_is_another(tmp_path: Path) -> None:
    guest = tmp_path / "guest"
    content = packs.content(
        {
            packs.RESIDENTS: f"-- A file.\nSELECT path AS who, uid FROM file WHERE path = '{guest}'\n",
            packs.CONTROL: packs.control(f"who = '{guest}'"),
        }
    )
    folder = packs.write(content, tmp_path / "packs")
    with agent_of(tmp_path, "--packs", str(folder)) as (server, _):
        database = server.database
        wait_for(lambda: ask(database, "SELECT status FROM coverage WHERE query = 'residents'") == [["ok"]], 60)
        assert verdicts(database) == {"no-guests": "pass"}
        guest.write_text("here")
        made = json.loads(
            muster("device", "ask", hostname(database), "--wait", "150", "--json", "--database", database).stdout
        )
        assert [(one["outcome"], one["sent"], one["message"]) for one in made["questions"]] == [("answered", 1, None)]
        assert verdicts(database) == {"no-guests": "fail"}
        assert ask(database, "SELECT who FROM residents") == [[str(guest)]]
        assert ask(database, "SELECT * FROM rejects") == []
    assert server.stop() == 0


def verdicts(database: str) -> dict[str, str]:
    muster("evaluate", "--database", database, "--day", time.strftime("%Y-%m-%d", time.gmtime()))
    return dict(ask(database, "SELECT control, status FROM posture"))


def hostname(database: str) -> str:
    return str(ask(database, "SELECT hostname FROM devices")[0][0])


@contextmanager
def agent_of(tmp_path: Path, *options: str) -> Iterator[tuple[Server, subprocess.Popen[bytes]]]:
    """An agent that runs against a server of its own; only the agent is ended here."""
    certificate, key = self_signed(tmp_path)
    database = f"sqlite:///{tmp_path / 't.db'}"
    made = json.loads(muster("init", "--database", database, "--json").stdout)
    server = Server(database, "--tls-cert", str(certificate), "--tls-key", str(key), *options)
    (tmp_path / "secret").write_text(made["enroll_secret"] + "\n")
    flags = {
        "tls_hostname": f"127.0.0.1:{server.port}",
        "tls_server_certs": certificate,
        "enroll_secret_path": tmp_path / "secret",
        "enroll_tls_endpoint": "/api/osquery/enroll",
        "config_plugin": "tls",
        "config_tls_endpoint": "/api/osquery/config",
        "config_refresh": 10,
        "logger_plugin": "tls",
        "logger_tls_endpoint": "/api/osquery/log",
        "disable_distributed": "false",
        "distributed_plugin": "tls",
        "distributed_tls_read_endpoint": "/api/osquery/distributed/read",
        "distributed_tls_write_endpoint": "/api/osquery/distributed/write",
        "database_path": tmp_path / "osquery.db",
        "pidfile": tmp_path / "osquery.pid",
        "extensions_socket": tmp_path / "osquery.em",
    }
    with (tmp_path / "osqueryd.log").open("w") as log:
        agent = subprocess.Popen(
            [OSQUERYD, "--flagfile=/dev/null", "--force", "--disable_watchdog"]
            + [f"--{name}={value}" for name, value in flags.items()],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
        )
        try:
            yield server, agent
        finally:
            agent.terminate()
            agent.wait(timeout=30)


@pytest.mark.parametrize("query", LINUX_QUERIES, ids=[query.name for query in LINUX_QUERIES])
def test_every_linux_query_of_the_library_runs(query: Query) -> None:
    shell = [OSQUERYD, "-S", "--disable_extensions", "--json", f"{query.sql};"]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Error:" not in done.stderr
    names = {column.name for column in query.columns}
    assert all(set(row) == names for row in json.loads(done.stdout))


def it_is_judged(database: str) -> None:
    muster("evaluate", "--database", database, "--day", time.strftime("%Y-%m-%d", time.gmtime()))
    verdicts = dict(ask(database, "SELECT control, status FROM posture"))
    assert {verdicts[one] for one in ("release-supported", "only-root-has-uid-0", "osquery-current")} == {"pass"}
    # Every query was answered; what rests on systemd cannot be judged where there is none, as in a container.
    assert not set(verdicts.values()) & {"no_data", "stale"}, verdicts


def it_runs_what_it_was_served(database: str) -> None:
    ((expected,),) = stored(database, "SELECT config_hash FROM muster_served")
    assert ask(database, "SELECT config_hash FROM osquery_info") == [[expected]]
    assert ask(database, "SELECT COUNT(*) FROM devices_history") == [[1]], "enrolment and answer name one version"


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "server.crt", directory / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
