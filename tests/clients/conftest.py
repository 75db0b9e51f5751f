"""Real clients, and the real server that they talk to: once as one process, once as two."""

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.clients.server_process import RunningServer, run_server

LOG_CHARACTERS_SHOWN = 20_000


@pytest.fixture(scope="session", params=[1, 2], ids=["one worker", "two workers"])
def running_server(request: pytest.FixtureRequest, open_tmp_path: Path) -> Iterator[RunningServer]:
    """A server on an embedded PostgreSQL of its own, open for registration and without rate limits."""
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=open_tmp_path))
    folder.chmod(0o711)
    with run_server(folder, worker_count=request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def no_errors_in_the_log(running_server: RunningServer) -> Iterator[None]:
    """Whatever the server logs as an error fails the test."""
    yield
    errors = running_server.new_errors()
    assert not errors, "\n".join(["the server logged errors:", *errors])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of the server with a test that failed."""
    report = yield
    server = item.funcargs.get("running_server")
    if report.failed and isinstance(server, RunningServer):
        report.sections.append(("log of the server", server.new_log("reports")[-LOG_CHARACTERS_SHOWN:]))
    return report
