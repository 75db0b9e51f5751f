"""Real clients, and the real server that they talk to: once as one process, once as two."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.js_person import NodeProcess, node_process
from tests.clients.server_process import RunningServer, run_server

if TYPE_CHECKING:
    from tests.clients.mixed_room import MixedRoom

FOLDER = Path(__file__).parent
LOG_CHARACTERS_SHOWN = 20_000
NEEDS_NIO = "needs matrix-nio with encryption: pip install -e '.[external]'"


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


@pytest.fixture(scope="session")
def node() -> str:
    """The program, when it can run matrix-js-sdk and what belongs to it."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs Node 20 or newer")
    for package in json.loads((FOLDER / "package.json").read_text())["dependencies"]:
        if not (FOLDER / "node_modules" / package).exists():
            pytest.skip(f"needs {package}: npm install --prefix tests/clients")
    return program


@pytest.fixture(scope="session", name="node_process")
async def running_node(node: str, open_tmp_path: Path) -> AsyncIterator[NodeProcess]:
    """A process for devices with matrix-js-sdk."""
    async with node_process(node, open_tmp_path / "node.log") as process:
        yield process


@pytest.fixture
async def mixed_room(running_server: RunningServer, node_process: NodeProcess) -> AsyncIterator["MixedRoom"]:
    """An encrypted room with Alice, who has matrix-nio, and Bob, who has matrix-js-sdk."""
    pytest.importorskip("vodozemac", reason=NEEDS_NIO)
    from tests.clients.mixed_room import mixed_room

    async with mixed_room(running_server.base_url, node_process) as room:
        yield room


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the server and of Node with a test that failed."""
    report = yield
    server, node = item.funcargs.get("running_server"), item.funcargs.get("node_process")
    if report.failed and isinstance(server, RunningServer) and server.log.exists():
        report.sections.append(("log of the server", server.new_log("reports")[-LOG_CHARACTERS_SHOWN:]))
    if report.failed and isinstance(node, NodeProcess):
        report.sections.append(("log of Node", node.log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]))
    return report
