"""What our request pipeline costs beyond aiohttp, as CPU time of the server process, in one run.

    python tests/benchmarks/web_overhead.py [--uvloop]

An authenticated PUT with a small JSON body and three path parameters, against a bare aiohttp handler that answers the
same request with constant bytes. Both run in one server process and take turns.
"""

import argparse
import asyncio
import io
import multiprocessing
import socket
import statistics
import time
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from tim_server.matrix.identifiers import UserId
from tim_server.observability.log_setup import LogSettings, access_log, configure_logging
from tim_server.observability.metrics import RequestMetrics
from tim_server.services.accounts.requester import Requester
from tim_server.web.body_memory import BodyMemory
from tim_server.web.client_address import TrustedProxies
from tim_server.web.connection import HttpServer
from tim_server.web.exchange import Observer
from tim_server.web.fields import RoomId
from tim_server.web.pipeline import Pipeline, RequestLimits
from tim_server.web.rate_limits import RateLimit, RateLimits
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Route
from tim_server.web.router import Router
from tim_server.web.tenants import HostedTenant, Tenants

ROUNDS = 7
REQUESTS_PER_ROUND = 3000
CONNECTIONS = 4
PATH = "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"
BODY = b'{"msgtype":"m.text","body":"Good morning, how did the night go?"}'


class SendRequest(RequestModel):
    room_id: InPath[RoomId]
    event_type: InPath[str]
    txn_id: InPath[str]
    content: WholeBody[dict[str, Any]]


class SendResponse(ResponseModel):
    event_id: str


async def send(server: Any, requester: Requester, request: SendRequest) -> SendResponse:
    return SendResponse(event_id="$3q6qI8VXrFfZ0Gx3nQ0cGmX0Tq5s8cZ5tZ9yqY7wJ4E")


class KnownToken:
    async def requester(self, token: str, *, locked_ok: bool = False) -> Requester:
        return Requester(user_id=UserId("@alice:example.org"), device_id="D", token_id=1)


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(body=b'{"event_id":"$3q6qI8VXrFfZ0Gx3nQ0cGmX0Tq5s8cZ5tZ9yqY7wJ4E"}')


def make_pipeline(shutting_down: asyncio.Event) -> Pipeline:
    log = access_log(configure_logging(LogSettings(), io.BytesIO()))
    return Pipeline(
        routers={False: Router([Route("PUT", PATH, send)])},
        tenants=Tenants(
            [
                HostedTenant(
                    homeserver=SimpleNamespace(authenticator=KnownToken()),
                    host_names=["example.org"],
                    rate_limits=RateLimits({"default": RateLimit(per_second=1e9, burst=10**9)}),
                )
            ]
        ),
        proxies=TrustedProxies([]),
        limits=RequestLimits(),
        memory=BodyMemory(),
        observer=Observer(RequestMetrics(), log),
        shutting_down=shutting_down,
    )


async def serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    pipeline = make_pipeline(asyncio.Event())
    ports = []
    for server in (web.Server(hello, access_log=None), HttpServer(pipeline.answer, connections_max=100)):
        listener = await loop.create_server(server, "127.0.0.1", 0)
        ports.append(listener.sockets[0].getsockname()[1])
    pipe.send(ports)
    while await loop.run_in_executor(None, pipe.recv):
        pipe.send(time.process_time())


def run_server(pipe: Connection, *, use_uvloop: bool) -> None:
    if use_uvloop:
        import uvloop

        uvloop.run(serve(pipe))
    else:
        asyncio.run(serve(pipe))


def request_bytes() -> bytes:
    path = PATH.format(roomId="%21room%3Aexample.org", eventType="m.room.message", txnId="m1234.5")
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: example.org\r\nAuthorization: Bearer abcdef\r\nUser-Agent: bench\r\n"
        f"Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


def load(port: int) -> None:
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    data = request_bytes()
    for _ in range(REQUESTS_PER_ROUND // CONNECTIONS):
        for client in clients:
            client.sendall(data)
        for client in clients:
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert answer.endswith(b"}"), answer
    for client in clients:
        client.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvloop", action="store_true")
    use_uvloop = parser.parse_args().uvloop
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=run_server, args=(there,), kwargs={"use_uvloop": use_uvloop}, daemon=True)
    process.start()
    ports = here.recv()

    def cpu_seconds() -> float:
        here.send(True)
        seconds: float = here.recv()
        return seconds

    figures: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for figure, port in zip(figures, ports, strict=True):
            before = cpu_seconds()
            load(port)
            figure.append((cpu_seconds() - before) / REQUESTS_PER_ROUND * 1e6)
    here.send(False)
    process.join()
    bare, ours = (statistics.median(figure[1:]) for figure in figures)
    print(f"bare aiohttp {bare:.0f} µs, pipeline {ours:.0f} µs CPU a request")
    print(f"overhead {ours - bare:.0f} µs, ratio {ours / bare:.2f}")


if __name__ == "__main__":
    main()
