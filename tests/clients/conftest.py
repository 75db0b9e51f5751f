"""Real clients, and the real server that they talk to: once as one process, once as two."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.server_process import RunningServer, run_server

LOG_CHARACTERS_SHOWN = 20_000

SERVERS = pytest.StashKey[RunningServer]()


@pytest.fixture(scope="session", params=[1, 2], ids=["one worker", "two workers"])
def running_server(request: pytest.FixtureRequest, open_tmp_path: Path) -> Iterator[RunningServer]:
    """A server on an embedded PostgreSQL of its own, open for registration and without rate limits."""
    with run_server(open_tmp_path / f"server-{request.param}", worker_count=request.param) as server:
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest, running_server: RunningServer) -> Iterator[RunningServer]:
    """The server; whatever it logs as an error during the test fails it, and its log is shown if the test fails."""
    request.node.stash[SERVERS] = running_server
    known = len(running_server.errors())
    yield running_server
    errors = running_server.errors()[known:]
    assert not errors, "\n".join(["the server logged errors:", *errors])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Show the log of the server with a test that failed."""
    report = yield
    server = item.stash.get(SERVERS, None)
    if report.failed and server is not None:
        report.sections.append(("log of the server", server.log_text()[-LOG_CHARACTERS_SHOWN:]))
    return report
