"""The demonstration, from the command line."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import tim_server
from tests.cli.test_commands import invoke
from tests.ports import free_ports
from tim_server.config.load import load_settings
from tim_server.storage.embedded_process import processes_in
from tim_server.trust.profiles import Profile

STEPS = (
    "$ tim-server trust authority init",
    "version 1 of the directory lists st-mary.example, city.example",
    "Version 1 is in force",
    "creates an encrypted room and invites Bob of City Hospital",
    "In the room are @alice:st-mary.example and @bob:city.example",
    "Alice reads: Message 2 of Bob",
    "What the servers have of it: m.megolm.v1.aes-sha2",
    "Bob sees that Alice has read his message",
    "In the file: Discharge letter.",
    "Mallory at stranger.example, which no directory lists, invites Alice.",
    "PUT /_matrix/federation/v2/invite/{roomId}/{eventId} → 403",
    "GET /_matrix/federation/v1/make_join/{roomId}/{userId} → 403",
    "POST /_matrix/federation/v1/user/keys/query → 403",
    "PUT /_matrix/federation/v1/send/{txnId} → 403",
    "GET /_matrix/federation/v1/media/download/{mediaId} → 403",
    "stranger.example is not part of the federation of this server",
    "city.example of City Hospital is listed, and has proved itself",
    "Connections that anybody has opened to stranger.example: 0",
    "Everything went as it should.",
)
COMMAND = (sys.executable, "-m", "tim_server", "demo")


def environment(folder: Path) -> dict[str, str]:
    """Temporary folders of the demonstration are made in `folder`."""
    project = str(Path(tim_server.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": project, "COLUMNS": "200", "TMPDIR": str(folder)}


@pytest.fixture
def folder(open_tmp_path: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=open_tmp_path))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_each_step_is_shown_and_a_folder_that_is_kept_goes_on(folder: Path, port: int) -> None:
    """Once, with exit code 0 for all that held; then, with circle, accounts and databases of that, to stay up."""
    data = folder / "demo"
    command = [*COMMAND, "--data-dir", str(data), "--port", str(port)]
    done = subprocess.run(
        [*command, "--once"], env=environment(folder), capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for step in STEPS:
        assert step in done.stdout, step
    process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if "Ctrl-C" in line:
                break
        assert "version 2 of the directory lists" in seen
        assert f"http://127.0.0.1:{port}" in seen and "@bob:city.example" in seen
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_matrix/client/versions", timeout=10) as response:
            assert response.status == 200
        process.send_signal(signal.SIGINT)
        assert "Stopped." in process.stdout.read()
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    settings = load_settings(data / "st-mary" / "tim-server.yaml", {})
    assert settings.tenants[0].trust.profile is Profile.DIRECTORY
    assert {listener.address for listener in settings.listeners} == {"127.0.0.1"}
    kept = json.loads((data / "demo.json").read_text())
    assert kept["passwords"]["alice"] and (data / "demo.json").stat().st_mode & 0o777 == 0o600
    assert not list(still_listening(kept["ports"].values()))


def still_listening(ports: Iterable[int]) -> Iterator[int]:
    for port in ports:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            yield port


def test_what_is_missing_is_told_before_anything_is_started(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "demo.json").write_text('{"ports": {}}')
    assert "of another release, or damaged" in invoke("demo", "--once", "--data-dir", folder).stderr
    monkeypatch.setitem(sys.modules, "vodozemac", None)
    assert "encrypts with vodozemac" in invoke("demo", "--once", "--port", port).stderr


def test_a_port_in_use_is_told(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [*COMMAND, "--once", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 69
    assert "another process listens there" in done.stderr
    assert list(folder.iterdir()) == []


def test_one_that_is_stopped_before_its_end_has_failed_and_leaves_nothing(folder: Path, port: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--once", "--port", str(port)],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "answers clients" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped before the end" in errors
    assert list(folder.iterdir()) == []


def test_one_that_is_killed_leaves_nothing_either(folder: Path, port: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port)], env=environment(folder), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if "answers clients" in line:
                break
        (data,) = folder.glob("*/postgresql/data")
        assert processes_in(data)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while (processes_in(data) or list(folder.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert not processes_in(data)
    assert list(folder.iterdir()) == []
