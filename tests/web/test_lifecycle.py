"""Clients that vanish, and servers that stop, lose nothing that was accepted."""

import asyncio
import socket
import time

import pytest

from tests.web.toy_routes import ROUTES, V3, Nothing
from tim_server.web.response_model import Binary
from tim_server.web.route import Auth, Route
from tim_server.web.server import Listener, WebServer, WebSettings
from tim_server.web.tenants import HostedTenant


def head(method, path, *lines):
    auth = "Authorization: Bearer alice-token"
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", auth, *lines, "", ""]).encode()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def begin_and_vanish(server, data):
    _reader, writer = await server.connect()
    writer.write(data)
    await until(lambda: "begun" in server.tenant.events)
    writer.transport.abort()


async def test_a_write_goes_on_when_its_client_is_gone(serve):
    server = await serve(*ROUTES)
    await begin_and_vanish(server, head("PUT", f"{V3}/slow"))
    await until(lambda: "done" in server.tenant.events)
    await until(lambda: server.log)
    assert server.log[0]["status"] == 200


async def test_a_read_ends_when_its_client_is_gone(serve):
    server = await serve(*ROUTES)
    await begin_and_vanish(server, head("GET", f"{V3}/slow"))
    await until(lambda: "cancelled" in server.tenant.events)
    await until(lambda: server.log)
    assert server.log[0]["status"] == 499


async def test_a_client_that_vanishes_within_its_body_changes_nothing(serve, captured_log):
    server = await serve(*ROUTES)
    _reader, writer = await server.connect()
    path = f"{V3}/rooms/!r:example.org/send/m/1"
    writer.write(head("PUT", path, "Content-Length: 100") + b'{"body":')
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await until(lambda: server.log)
    assert server.log[0]["status"] == 499
    assert server.tenant.events == []
    assert captured_log == []


async def test_stopping_finishes_what_is_in_flight_and_accepts_nothing_new(serve):
    server = await serve(*ROUTES)
    write = asyncio.create_task(server.request("PUT", f"{V3}/slow"))
    await until(lambda: "begun" in server.tenant.events)
    stopping = asyncio.create_task(server.web_server.stop())
    await asyncio.sleep(0.05)
    with pytest.raises(OSError):
        await server.connect()
    assert await server.health("/ready") == (503, b'{"status":"shutting down"}')
    assert (await write).status == 200
    await stopping
    assert "done" in server.tenant.events


async def test_stopping_wakes_long_polls(serve):
    server = await serve(*ROUTES)
    poll = asyncio.create_task(server.request("GET", f"{V3}/poll"))
    await until(lambda: "begun" in server.tenant.events)
    started = time.monotonic()
    await server.web_server.stop()
    assert (await poll).json() == {"woken": True}
    assert time.monotonic() - started < 1.5


async def test_stopping_does_not_wait_for_ever(serve):
    server = await serve(*ROUTES, shutdown_seconds=0.2)
    read = asyncio.create_task(server.request("GET", f"{V3}/slow"))
    await until(lambda: "begun" in server.tenant.events)
    started = time.monotonic()
    await server.web_server.stop()
    assert time.monotonic() - started < 1.5
    assert "cancelled" in server.tenant.events
    with pytest.raises(Exception, match=r"."):
        await read


async def test_stopping_closes_idle_connections(serve):
    server = await serve(*ROUTES)
    reader, writer = await server.connect()
    writer.write(head("GET", f"{V3}/whoami"))
    await reader.readuntil(b"}")
    started = time.monotonic()
    await server.web_server.stop()
    assert await reader.read() == b""
    assert time.monotonic() - started < 1
    writer.close()


async def test_an_idle_connection_is_closed_in_the_end(serve):
    server = await serve(*ROUTES, keepalive_seconds=0.2)
    reader, writer = await server.connect()
    writer.write(b"GET /never-ending")
    assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()


async def large_answer(server: object, request: Nothing) -> Binary:
    return Binary(body=b"x" * 20_000_000, content_type="text/plain")


async def test_a_client_that_takes_nothing_of_its_answer_loses_the_connection(serve):
    server = await serve(Route("GET", "/large", large_answer, auth=Auth.NONE), unread_timeout_seconds=0.5)
    host, port = server.address.rsplit(":", 1)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        (http_server,) = server.web_server._http_servers
        await until(lambda: http_server.connection_count == 1)
        await until(lambda: http_server.connection_count == 0)


def hosted(server):
    return HostedTenant(homeserver=server.tenant, host_names=["example.org"])


async def test_workers_share_a_port(serve):
    first = await serve(*ROUTES)
    tenant = [hosted(first)]
    one = WebServer(listeners=[Listener(routes=ROUTES, share_port=True)], tenants=tenant)
    await one.start()
    port = int(one.addresses[0].rsplit(":", 1)[1])
    other = WebServer(listeners=[Listener(routes=ROUTES, share_port=True, port=port)], tenants=tenant)
    await other.start()
    assert other.addresses == one.addresses
    await one.stop()
    await other.stop()


async def test_a_listener_that_cannot_be_opened_leaves_none_open(serve):
    taken = await serve(*ROUTES)
    port = int(taken.address.rsplit(":", 1)[1])
    server = WebServer(listeners=[Listener(routes=ROUTES), Listener(routes=ROUTES, port=port)], tenants=[hosted(taken)])
    with pytest.raises(OSError):
        await server.start()
    host, first_port = server.addresses[0].rsplit(":", 1)
    with pytest.raises(OSError):
        await asyncio.open_connection(host, int(first_port))


async def test_a_unix_socket_is_served_as_from_a_proxy_and_removed(serve, tmp_path):
    first = await serve(*ROUTES)
    path = tmp_path / "web.sock"
    server = WebServer(
        listeners=[Listener(routes=ROUTES, unix_socket=path)],
        tenants=[hosted(first)],
        settings=WebSettings(shutdown_seconds=1),
    )
    await server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(head("GET", f"{V3}/whoami", "X-Forwarded-For: 192.0.2.9", "Connection: close"))
    assert b"192.0.2.9" in await reader.read()
    writer.close()
    await server.stop()
    assert not path.exists()


async def test_connections_beyond_the_limit_are_closed(serve):
    server = await serve(*ROUTES, connections_max=2)
    kept = [await server.connect() for _ in range(2)]
    refused, refused_writer = await server.connect()
    assert await asyncio.wait_for(refused.read(), 2) == b""
    refused_writer.close()
    kept[0][1].close()
    await asyncio.sleep(0.1)
    reader, writer = await server.connect()
    writer.write(head("GET", f"{V3}/whoami"))
    assert b"alice" in await reader.read(1000)
    for _reader, open_writer in (*kept[1:], (reader, writer)):
        open_writer.close()
