"""The demonstration, from the command line."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import tim_server
from tim_server.config.load import load_settings

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tim_server.__file__).parent.parent), "COLUMNS": "200"}
COMMAND = (sys.executable, "-m", "tim_server", "demo")


@pytest.fixture
def folder(open_tmp_path: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=open_tmp_path))
    path.chmod(0o711)
    yield path / "demo"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
        return chosen


def test_once_ends_with_exit_code_0_and_shows_each_step(folder: Path, port: int) -> None:
    command = [*COMMAND, "--once", "--data-dir", str(folder), "--port", str(port)]
    for _ in range(2):  # the second run finds the accounts of the first
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        for step in (
            f"Everything it keeps is in {folder}",
            "Alice signs in",
            "creates a room and invites Bob",
            "POST /_matrix/client/v3/createRoom → 200",
            "Message 3 of Bob",
            "takes it back",
            "pages back through the history",
            "The conversation went as it should.",
        ):
            assert step in done.stdout, step
    assert load_settings(folder / "tim-server.yaml", {}).listeners[0].address == "127.0.0.1"


def test_it_stays_up_and_says_url_and_accounts(folder: Path, port: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--data-dir", str(folder), "--port", str(port)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if "Ctrl-C" in line:
                break
        assert f"http://127.0.0.1:{port}" in seen
        assert "@alice:localhost" in seen
        assert "@bob:localhost" in seen
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_matrix/client/versions", timeout=10) as response:
            assert response.status == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 0
        assert "Stopped." in rest
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_port_in_use_is_told(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [*COMMAND, "--once", "--data-dir", str(folder), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 69
    assert "another process listens there" in done.stderr
