"""A Synapse in a process of its own, as a peer on loopback: SQLite, TLS by the tests' authority, no limits."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hospitals import Network
from tests.ports import free_ports

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0

_NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}
_LIMITS: dict[str, Any] = {
    **{name: _NO_LIMIT for name in ("rc_message", "rc_registration", "rc_joins_per_room", "rc_room_creation")},
    "rc_login": {"address": _NO_LIMIT, "account": _NO_LIMIT, "failed_attempts": _NO_LIMIT},
    "rc_joins": {"local": _NO_LIMIT, "remote": _NO_LIMIT},
    "rc_invites": {"per_room": _NO_LIMIT, "per_user": _NO_LIMIT, "per_issuer": _NO_LIMIT},
    "rc_federation": {"window_size": 1000, "sleep_limit": 1_000_000, "sleep_delay": 0, "reject_limit": 1_000_000},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SynapseServer:
    """Where clients reach it, and where its log is."""

    name: str
    base_url: str
    log: Path


@contextmanager
def run_synapse(network: Network, name: str, folder: Path) -> Iterator[SynapseServer]:
    """A Synapse with this name of the network, once it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    (client_port,) = free_ports(1)
    config, log = folder / "homeserver.yaml", folder / "synapse.log"
    # JSON is YAML
    config.write_text(json.dumps(_configuration(network, name, folder, client_port)))
    command = [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)]
    with (folder / "output.log").open("wb") as output:
        subprocess.run([*command, "--generate-keys"], check=True, stdout=output, stderr=output, cwd=folder)
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env={**os.environ})
    server = SynapseServer(name=name, base_url=f"http://127.0.0.1:{client_port}", log=log)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(network: Network, name: str, folder: Path, client_port: int) -> dict[str, Any]:
    files = network.circle.tls_files(name)
    log_config = folder / "log.yaml"
    log_config.write_text(
        json.dumps(
            {
                "version": 1,
                "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
                "handlers": {
                    "file": {
                        "class": "logging.FileHandler",
                        "filename": str(folder / "synapse.log"),
                        "formatter": "plain",
                    }
                },
                "root": {"level": "INFO", "handlers": ["file"]},
                "disable_existing_loggers": False,
            }
        )
    )
    return {
        "server_name": name,
        "public_baseurl": f"http://127.0.0.1:{client_port}/",
        "pid_file": str(folder / "pid"),
        "signing_key_path": str(folder / "signing.key"),
        "log_config": str(log_config),
        "media_store_path": str(folder / "media"),
        "max_upload_size": "120M",
        "report_stats": False,
        "listeners": [
            _listener(client_port, "client", tls=False),
            _listener(network.ports[name], "federation", tls=True),
        ],
        "tls_certificate_path": str(files.certificate),
        "tls_private_key_path": str(files.private_key),
        "federation_custom_ca_list": [str(network.circle.ca_file)],
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "macaroon_secret_key": "tests",
        "form_secret": "tests",
        "bcrypt_rounds": 4,
        "url_preview_enabled": False,
        **_LIMITS,
    }


def _listener(port: int, resource: str, *, tls: bool) -> dict[str, Any]:
    return {
        "port": port,
        "type": "http",
        "tls": tls,
        "bind_addresses": ["127.0.0.1"],
        "resources": [{"names": [resource], "compress": False}],
    }


def _wait_until_ready(server: SynapseServer, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    url = f"{server.base_url}/_matrix/client/versions"
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(0.1)
    output = (server.log.parent / "output.log").read_text(errors="replace")[-3000:]
    raise AssertionError(f"Synapse did not become ready:\n{output}")
