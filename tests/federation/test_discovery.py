"""Where servers are found, over real TLS on loopback; only the name server of SRV records is the tests' own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.circle import Circle
from tests.ports import free_ports
from tim_server.egress.client import OutgoingClient, OutgoingSettings
from tim_server.egress.errors import GateRefused
from tim_server.egress.tls import client_tls
from tim_server.federation.discovery import Discovery, Located, SrvRecord, choose_srv, lifetime_of
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.verdict import Verdict

WELL_KNOWN = "/.well-known/matrix/server"
NAME = ServerName("hospital.example")


@dataclass
class Surroundings:
    """The names that there are: web servers by name and path, SRV records; and what was asked of them."""

    discovery: Discovery
    now: list[float]
    pages: dict[tuple[str, str], Any] = field(default_factory=dict)
    records: dict[str, list[SrvRecord]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def locate(self, name: str = NAME) -> Located:
        return await self.discovery.locate(ServerName(name))

    def delegate(self, to: Any, **headers: str) -> None:
        """Have the well-known file say so."""
        self.pages[NAME, WELL_KNOWN] = web.json_response({"m.server": to}, headers=headers)


@pytest.fixture
async def surroundings(tmp_path: Path) -> AsyncIterator[Surroundings]:
    circle, (port,) = Circle(tmp_path), free_ports(1)
    now = [0.0]

    class Gate:
        async def may_contact(self, server_name: ServerName, /) -> Verdict:
            return Verdict(is_allowed=server_name not in made.refused, reason="not listed")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        made.asked.append(f"{request.host}{request.path}")
        page = made.pages.get((request.host, request.path))
        if page is None:
            return web.Response(status=404)
        return web.Response(status=page.status, body=page.body, headers=page.headers)

    async def look_up(name: str) -> list[SrvRecord]:
        made.asked.append(name)
        return made.records.get(name, [])

    hosts = {f"{name}:443": f"127.0.0.1:{port}" for name in (NAME, "elsewhere.example")}
    outgoing = OutgoingClient(
        settings=OutgoingSettings(hosts=hosts),
        gate=Gate(),
        tls=client_tls(ca_files=[circle.ca_file], use_system_cas=False),
    )
    discovery = Discovery(outgoing=outgoing, look_up_srv=look_up, mapped={"mapped.example"}, now_s=lambda: now[0])
    made = Surroundings(discovery, now)
    context = circle.server_context(NAME)
    listening = await asyncio.get_running_loop().create_server(
        web.Server(answer, access_log=None),  # type: ignore[arg-type]
        "127.0.0.1",
        port,
        ssl=context,
    )
    yield made
    listening.close()
    await outgoing.close()


@pytest.mark.parametrize(
    ("name", "authority", "tls_name"),
    [
        ("1.2.3.4", "1.2.3.4:8448", "1.2.3.4"),
        ("1.2.3.4:5678", "1.2.3.4:5678", "1.2.3.4"),
        ("[1234:5678::abcd]", "[1234:5678::abcd]:8448", "1234:5678::abcd"),
        ("[1234:5678::abcd]:5678", "[1234:5678::abcd]:5678", "1234:5678::abcd"),
        ("hospital.example:5678", "hospital.example:5678", "hospital.example"),
        ("mapped.example", "mapped.example:8448", "mapped.example"),
        ("Mapped.example", "Mapped.example:8448", "Mapped.example"),
    ],
)
async def test_literals_ports_and_mapped_names_need_no_look_up(
    surroundings: Surroundings, name: str, authority: str, tls_name: str
) -> None:
    assert await surroundings.locate(name) == Located(authority=authority, host=name, tls_name=tls_name)
    assert surroundings.asked == []


async def test_without_anything_it_is_at_port_8448(surroundings: Surroundings) -> None:
    wanted = Located(authority=f"{NAME}:8448", host=NAME, tls_name=NAME)
    assert await surroundings.locate() == wanted
    assert surroundings.asked == [f"{NAME}{WELL_KNOWN}", f"_matrix-fed._tcp.{NAME}", f"_matrix._tcp.{NAME}"]


@pytest.mark.parametrize(
    ("delegated", "authority", "host", "tls_name"),
    [
        ("1.2.3.4", "1.2.3.4:8448", "1.2.3.4", "1.2.3.4"),
        ("[::1]:99", "[::1]:99", "[::1]:99", "::1"),
        ("matrix.example:443", "matrix.example:443", "matrix.example:443", "matrix.example"),
        ("matrix.example", "matrix.example:8448", "matrix.example", "matrix.example"),
    ],
)
async def test_a_well_known_file_delegates(
    surroundings: Surroundings, delegated: str, authority: str, host: str, tls_name: str
) -> None:
    surroundings.delegate(delegated)
    assert await surroundings.locate() == Located(authority=authority, host=host, tls_name=tls_name)


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
async def test_srv_records_lead_on_also_those_of_the_delegated_name(surroundings: Surroundings, service: str) -> None:
    record = SrvRecord(priority=1, weight=1, port=99, target="machine.example")
    surroundings.records[f"{service}.{NAME}"] = [record]
    assert await surroundings.locate() == Located(authority="machine.example:99", host=NAME, tls_name=NAME)
    surroundings.discovery.forget(NAME)
    surroundings.now[0] += 3600
    surroundings.delegate("matrix.example")
    surroundings.records = {f"{service}.matrix.example": [record]}
    wanted = Located(authority="machine.example:99", host="matrix.example", tls_name="matrix.example")
    assert await surroundings.locate() == wanted


@pytest.mark.parametrize(
    "page",
    [
        web.Response(status=500, text='{"m.server": "bad.example:1"}'),
        web.Response(text="no JSON"),
        web.json_response({"m.server": 7}),
        web.json_response({"m.server": "not a name!"}),
        web.json_response(["m.server"]),
        web.Response(text='{"m.server": "bad.example:1"' + " " * 60_000 + "}"),
    ],
)
async def test_a_well_known_file_that_is_none_counts_for_nothing(surroundings: Surroundings, page: Any) -> None:
    surroundings.pages[NAME, WELL_KNOWN] = page
    assert (await surroundings.locate()).authority == f"{NAME}:8448"


async def test_redirects_are_followed_within_bounds_and_over_tls_only(surroundings: Surroundings) -> None:
    pages = surroundings.pages
    pages[NAME, WELL_KNOWN] = web.Response(status=302, headers={"Location": "/moved"})
    pages[NAME, "/moved"] = web.json_response({"m.server": "matrix.example:1"})
    assert (await surroundings.locate()).authority == "matrix.example:1"
    surroundings.now[0] += 3 * 24 * 3600
    for location in ("http://hospital.example/moved", WELL_KNOWN, "https://127.0.0.1/", "https://10.0.0.1/"):
        pages[NAME, WELL_KNOWN] = web.Response(status=302, headers={"Location": location})
        assert (await surroundings.locate()).authority == f"{NAME}:8448"
        surroundings.now[0] += 3600


async def test_what_is_found_is_remembered_as_long_as_it_says_within_bounds(surroundings: Surroundings) -> None:
    surroundings.delegate("matrix.example:1", **{"Cache-Control": "max-age=1000"})
    for seconds, count in ((0, 1), (900, 1), (200, 2)):
        surroundings.now[0] += seconds
        await surroundings.locate()
        assert surroundings.asked == [f"{NAME}{WELL_KNOWN}"] * count


@pytest.mark.parametrize(
    ("headers", "lifetime_s"),
    [
        ({}, 24 * 3600),
        ({"Cache-Control": "max-age=7200, public"}, 7200),
        ({"Cache-Control": "max-age=99999999999999999999"}, 48 * 3600),
        ({"Cache-Control": "no-store"}, 300),
        ({"Expires": "Thu, 01 Jan 1970 02:00:00 GMT"}, 7200),
        ({"Expires": "0"}, 300),
    ],
)
def test_how_long_a_well_known_file_counts(headers: dict[str, str], lifetime_s: float) -> None:
    assert lifetime_of(headers, now_ts=0) == lifetime_s


async def test_nothing_is_looked_up_for_a_server_that_the_gate_refuses(surroundings: Surroundings) -> None:
    surroundings.refused.add(NAME)
    with pytest.raises(GateRefused):
        await surroundings.locate()
    assert surroundings.asked == []
    surroundings.refused.clear()
    await surroundings.locate()
    surroundings.refused.add(NAME)
    surroundings.now[0] += 600  # the SRV records are forgotten, the well-known file is not
    surroundings.asked.clear()
    with pytest.raises(GateRefused):
        await surroundings.locate()
    assert surroundings.asked == []


def test_of_srv_records_the_lowest_priority_counts_and_a_dot_means_that_there_is_none() -> None:
    def record(priority: int, target: str, weight: int = 1) -> SrvRecord:
        return SrvRecord(priority=priority, weight=weight, port=1, target=target)

    records = [record(2, "c"), record(1, "a", 0), record(1, "b", 5)]
    chosen = [choose_srv(records) for _ in range(200)]
    targets = [each.target for each in chosen if each is not None]
    assert set(targets) <= {"a", "b"} and targets.count("b") > 100
    assert choose_srv([record(1, "."), record(2, "c")]) is None
