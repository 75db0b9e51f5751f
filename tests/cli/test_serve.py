"""`serve` as an operator runs it: real processes, real signals, the embedded PostgreSQL."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tim_server
from tests.ports import free_ports
from tim_server.cli.failures import EXIT_UNAVAILABLE
from tim_server.cli.generate_config import generate_config
from tim_server.storage.embedded_process import PostmasterFile, is_alive, processes_in

START_TIMEOUT_S = 60.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tim_server.__file__).parent.parent)}
WORKERS_MAX = 2
COMMAND = (sys.executable, "-m", "tim_server")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A folder with a configuration, and the ports that it names."""

    folder: Path
    port: int
    health_port: int

    @property
    def config(self) -> Path:
        return self.folder / "tim.yaml"

    @property
    def cluster(self) -> Path:
        return self.folder / "data" / "postgresql" / "data"

    @property
    def log(self) -> str:
        """What was logged so far; lines are gathered before they are written."""
        return (self.folder / "log").read_text()

    def get(self, path: str, *, port: int | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    def is_up(self) -> bool:
        try:
            return self.get("/_matrix/client/versions")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def has_answering_database(self) -> bool:
        """Whether a request that needs the database is answered as it should be."""
        try:
            path = "/_matrix/client/v3/profile/@nobody:clinic.example"
            return self.get(path)[1]["errcode"] in ("M_NOT_FOUND", "M_FORBIDDEN")
        except (OSError, http.client.HTTPException, KeyError):
            return False


@pytest.fixture
def site(open_tmp_path: Path) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(dir=open_tmp_path))
    folder.chmod(0o711)
    port, health_port, *_ = free_ports(1 + WORKERS_MAX)
    site = Site(folder=folder, port=port, health_port=health_port)
    site.config.write_text(
        generate_config(server_name="clinic.example", data_dir=folder / "data", port=port, health_port=health_port)
    )
    yield site
    for pid in processes_in(site.cluster):
        with suppress(ProcessLookupError):  # they leave by themselves once their parent is gone
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def until(holds: Callable[[], bool], *, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"{holds} did not come true"
        time.sleep(0.05)


def start(site: Site, *arguments: str, open_files: tuple[str, int] | None = None) -> "subprocess.Popen[bytes]":
    """`open_files` is an option of the shell's ulimit, and its value."""
    with (site.folder / "log").open("ab") as log:
        command = [*COMMAND, "serve", "--config", str(site.config), *arguments]
        if open_files is not None:
            option, limit = open_files
            command = ["/bin/sh", "-c", f'ulimit {option} {limit}; exec "$@"', "sh", *command]
        return subprocess.Popen(command, env=ENVIRONMENT, stderr=log, stdout=log)


@contextlib.contextmanager
def serving(
    site: Site, *arguments: str, open_files: tuple[str, int] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that is up; killed afterwards where the test has not stopped it."""
    process = start(site, *arguments, open_files=open_files)
    try:
        until(lambda: site.is_up() or process.poll() is not None)
        assert process.poll() is None, site.log
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def children_of(pid: int) -> list[int]:
    """Processes that this one started, the workers; PostgreSQL, whose program is another, not counted."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split() if b"tim_server" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_generated_configuration_serves_on_an_empty_database_and_stops_on_sigterm(site: Site) -> None:
    with serving(site) as process:
        assert "v1.18" in site.get("/_matrix/client/versions")[1]["versions"]
        assert site.get("/health", port=site.health_port)[0] == 200
        process.terminate()
        assert process.wait(30) == 0
    assert not processes_in(site.cluster)
    key = site.folder / "data" / "clinic.example.signing.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_server_killed_at_any_instant_starts_again(site: Site) -> None:
    with serving(site) as process:
        process.kill()
        process.wait()
    with serving(site) as again:
        until(site.has_answering_database)
        again.send_signal(signal.SIGINT)
        assert again.wait(30) == 0


@contextlib.contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """So many clients that connect and say nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        yield


def test_the_limit_of_open_files_that_programs_start_with_does_not_bound_connections(site: Site) -> None:
    with serving(site, open_files=("-Sn", 150)), idle_connections(site.port, 300):
        assert site.is_up() and site.has_answering_database()


def test_idle_clients_cannot_use_up_the_open_files_of_the_server(site: Site) -> None:
    with serving(site, open_files=("-n", 300)):
        with idle_connections(site.port, 500):
            assert site.get("/ready", port=site.health_port)[0] == 200
        until(site.has_answering_database)
        until(lambda: '"event":"open_files_limit_too_low"' in site.log)
    assert '"error":"OSError"' not in site.log


def test_what_is_served_where_stands_in_the_log(site: Site) -> None:
    with serving(site) as process:
        process.terminate()
        process.wait(30)
    events = [json.loads(line) for line in site.log.splitlines() if line.startswith("{")]
    (serving_line,) = [event for event in events if event["event"] == "serving"]
    assert serving_line["addresses"] == [f"127.0.0.1:{site.port}"]
    assert any(event["event"] == "stopping" for event in events)


def test_a_killed_postgresql_comes_back_and_the_server_goes_on(site: Site) -> None:
    with serving(site) as process:
        until(site.has_answering_database)
        postmaster = PostmasterFile.read(site.cluster)
        assert postmaster is not None
        os.kill(postmaster.pid, signal.SIGKILL)
        until(lambda: not is_alive(postmaster.pid) or PostmasterFile.read(site.cluster) != postmaster)
        until(site.has_answering_database)
        assert process.poll() is None


def test_workers_share_the_port_and_stop_together(site: Site) -> None:
    with serving(site, "--workers", "2") as process:
        until(lambda: len(children_of(process.pid)) == 2)
        for index in range(2):
            until(lambda port=site.health_port + index: can_connect(port))
            assert site.get("/ready", port=site.health_port + index)[0] == 200
        workers = children_of(process.pid)
        process.terminate()
        assert process.wait(40) == 0
    assert not any(is_alive(pid) for pid in workers)
    assert not processes_in(site.cluster)


def can_connect(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_killed_worker_is_replaced_and_workers_of_a_killed_parent_stop(site: Site) -> None:
    with serving(site, "--workers", "2") as process:
        until(lambda: len(children_of(process.pid)) == 2)
        first, second = children_of(process.pid)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(set(children_of(process.pid)) - {first}) == 2)
        workers = children_of(process.pid)
        assert second in workers
        process.kill()
        process.wait()
        until(lambda: not any(is_alive(pid) for pid in workers))
    with serving(site):
        until(site.has_answering_database)


def test_a_second_server_on_the_same_port_is_told_so(site: Site) -> None:
    with serving(site):
        done = subprocess.run(
            [*COMMAND, "serve", "--config", str(site.config)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == EXIT_UNAVAILABLE
    expected = f"tim-server: cannot listen on 127.0.0.1 port {site.port}: another process listens there\n"
    assert done.stderr == expected


def test_accounts_made_beside_a_running_server_can_log_in(site: Site) -> None:
    with serving(site):
        subprocess.run(
            [*COMMAND, "user", "create", "alice", "--config", str(site.config), "--password-file", "-"],
            env=ENVIRONMENT,
            input=b"correct horse\n",
            check=True,
            timeout=60,
        )
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": "correct horse",
        }
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/_matrix/client/v3/login", json.dumps(login))
            response = connection.getresponse()
            assert json.loads(response.read())["user_id"] == "@alice:clinic.example"
