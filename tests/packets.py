"""Proof that nothing left: every name that homeservers of the tests look up, and every address that they connect to."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tim_server.egress.connector import CheckedConnector, CheckedResolver
from tim_server.federation.discovery import Discovery


@dataclass
class Packets:
    """What was looked up and connected to since the last look."""

    looked_up: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)

    def assert_none_for(self, host: str, port: int) -> None:
        """Nothing was asked about the host, and nothing went to its port."""
        assert not [name for name in self.looked_up if host in name], self.looked_up
        assert not [address for address in self.connected if address[1] == port], self.connected


@contextmanager
def recorded_packets() -> Iterator[Packets]:
    """Record what all homeservers of this process look up and connect to."""
    packets = Packets()
    resolve, make_socket = CheckedResolver.resolve, CheckedConnector._make_socket
    init = Discovery.__init__

    async def recorded_resolve(self: CheckedResolver, host: str, *args: Any, **options: Any) -> Any:
        packets.looked_up.append(host)
        return await resolve(self, host, *args, **options)

    def recorded_socket(self: CheckedConnector, addr_info: Any) -> socket.socket:
        packets.connected.append(addr_info[4][:2])
        return make_socket(self, addr_info)

    def recorded_init(self: Discovery, *, look_up_srv: Any, **options: Any) -> None:
        async def recorded_look_up(name: str) -> Any:
            packets.looked_up.append(name)
            return await look_up_srv(name)

        init(self, look_up_srv=recorded_look_up, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckedResolver, "resolve", recorded_resolve)
        patch.setattr(CheckedConnector, "_make_socket", recorded_socket)
        patch.setattr(Discovery, "__init__", recorded_init)
        yield packets
