"""A server as an operator runs it: `tim-server serve` on a generated configuration, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_ports

SERVER_NAME = "hospital.example"
START_TIMEOUT_S = 60.0
START_POLL_INTERVAL_S = 0.05
LOG_DELAY_S = 0.15
"""How long a line may take to reach the log: lines are gathered before they are written."""
STOP_TIMEOUT_S = 30.0

SETTINGS = {
    "TIM_SERVER__REGISTRATION__ENABLED": "true",
    "TIM_SERVER__REGISTRATION__REQUIRES_TOKEN": "false",
    "TIM_SERVER__RATE_LIMITS__ENABLED": "false",
}
"""What the tests change of the generated configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """Where clients reach a server that is ready, and where its log is."""

    base_url: str
    worker_count: int
    log: Path
    _told: Counter[str] = field(default_factory=Counter)

    def new_log(self, reader: str) -> str:
        """What was logged since `reader` last asked."""
        time.sleep(LOG_DELAY_S)
        text = self.log.read_text(encoding="utf-8", errors="replace")
        new = text[self._told[reader] :]
        self._told[reader] = len(text)
        return new

    def new_errors(self) -> list[str]:
        """The new lines of the log that mean that somebody must act: a bug, a worker that died, a trace of Python."""
        return [line for line in self.new_log("errors").splitlines() if _level(line) in {"error", "critical", None}]


@contextmanager
def run_server(folder: Path, *, worker_count: int) -> Iterator[RunningServer]:
    """A server with its data in `folder`, once all of its workers are ready; stopped at the end, which must succeed."""
    port, health_port, *_ = free_ports(1 + worker_count)
    config, log = folder / "tim-server.yaml", folder / "server.log"
    options = ["--server-name", SERVER_NAME, "--data-dir", folder / "data", "--port", port]
    config.write_bytes(_output_of("generate-config", *options, "--health-port", health_port))
    command = _command("serve", "--config", config, "--workers", worker_count)
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=_environment(), stderr=stderr, start_new_session=True)
    server = RunningServer(base_url=f"http://127.0.0.1:{port}", worker_count=worker_count, log=log)
    try:
        for index in range(worker_count):
            _wait_until_ready(f"http://127.0.0.1:{health_port + index}/ready", process, server)
        yield server
    finally:
        exit_code = _stop(process)
    assert exit_code == 0, f"the server ended with {exit_code}:\n{server.new_log('stop')}"


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tim_server", *map(str, arguments)]


def _environment() -> dict[str, str]:
    return os.environ | SETTINGS | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def _output_of(*arguments: object) -> bytes:
    return subprocess.run(_command(*arguments), env=_environment(), stdout=subprocess.PIPE, check=True).stdout


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], server: RunningServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(START_POLL_INTERVAL_S)
    raise AssertionError(f"the server did not become ready; its log:\n{server.new_log('stop')}")


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Ask the server to stop, kill it when it does not; its exit code."""
    process.terminate()
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _level(line: str) -> str | None:
    """The level of a line of the log; None for what is none, such as a trace of Python."""
    with suppress(ValueError):
        fields: Any = json.loads(line)
        return str(fields.get("level"))
    return None
