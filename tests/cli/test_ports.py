"""Ports are tried before anything is started."""

import socket
from collections.abc import Iterator

import pytest

from tim_server.cli import serve
from tim_server.cli.failures import EXIT_UNAVAILABLE, CommandFailed
from tim_server.config.settings import Settings


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PORT_WAIT_S", 0.0)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a server listens on, willing to share it as workers do; the one before it is free."""
    while True:
        with socket.socket() as server, socket.socket() as before:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
            try:
                before.bind(("127.0.0.1", port - 1))
            except OSError:
                continue
            before.close()
            server.listen()
            yield port
            return


def settings_with(workers: int = 1, **listener: object) -> Settings:
    return Settings.model_validate(
        {"data_dir": "/none", "workers": workers, "listeners": [listener], "tenants": [{"server_name": "a.example"}]}
    )


def test_a_port_that_another_server_shares_is_refused(taken: int) -> None:
    with pytest.raises(CommandFailed, match=f"127.0.0.1 port {taken}: another process listens there") as caught:
        serve.check_ports(settings_with(port=taken))
    assert caught.value.exit_code == EXIT_UNAVAILABLE


def test_the_port_of_each_workers_health_is_tried(taken: int) -> None:
    settings = settings_with(port=taken - 1, resources=["health"])
    with pytest.raises(CommandFailed, match=f"port {taken}"):
        serve.check_ports(settings.with_workers(2))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CommandFailed, match=r"192\.0\.2\.1 port 8008: "):
        serve.check_ports(settings_with(address="192.0.2.1"))


def test_free_ports_are_fine() -> None:
    serve.check_ports(settings_with(port=0))
