"""Where servers are found, over real TLS on loopback; only the name server of SRV records is the tests' own."""

import asyncio
from dataclasses import replace

import pytest

from tests.federation.conftest import NAME, WELL_KNOWN, Surroundings
from tests.packets import recorded_packets
from tim_server.egress.errors import GateRefused
from tim_server.federation.discovery import Located
from tim_server.federation.srv_records import SrvRecord


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
    at_machine = Located(authority="machine.example:99", host=NAME, tls_name=NAME, record=record)
    assert await surroundings.locate() == at_machine
    surroundings.now[0] += 3600
    surroundings.delegate("matrix.example")
    surroundings.records = {f"{service}.matrix.example": [record]}
    assert await surroundings.locate() == replace(at_machine, host="matrix.example", tls_name="matrix.example")


async def test_nothing_is_looked_up_for_a_server_that_the_gate_refuses(surroundings: Surroundings) -> None:
    surroundings.refused.add(NAME)
    with recorded_packets() as packets, pytest.raises(GateRefused):
        await surroundings.locate()
    assert surroundings.asked == packets.looked_up == packets.connected == []
    surroundings.refused.clear()
    await surroundings.locate()
    surroundings.refused.add(NAME)
    surroundings.now[0] += 600  # the SRV records are forgotten, the well-known file is not
    surroundings.asked.clear()
    with pytest.raises(GateRefused):
        await surroundings.locate()
    assert surroundings.asked == []


async def test_many_who_want_the_same_server_have_it_looked_up_once(surroundings: Surroundings) -> None:
    await asyncio.gather(*(surroundings.locate() for _ in range(20)))
    assert surroundings.asked == [f"{NAME}{WELL_KNOWN}", f"_matrix-fed._tcp.{NAME}", f"_matrix._tcp.{NAME}"]


async def test_where_a_server_is_not_reached_the_next_record_is_tried_and_then_all_anew(
    surroundings: Surroundings,
) -> None:
    service = f"_matrix-fed._tcp.{NAME}"
    records = [SrvRecord(priority=n, weight=1, port=n, target="machine.example") for n in (1, 2)]
    surroundings.records[service] = records
    for wanted in (1, 2, 1):
        located = await surroundings.locate()
        assert located.authority == f"machine.example:{wanted}"
        for _ in range(3):  # as many as had asked there
            surroundings.discovery.doubt(NAME, located)
    assert surroundings.asked.count(service) == 2


async def test_records_count_until_a_name_server_says_otherwise(surroundings: Surroundings) -> None:
    record = SrvRecord(priority=1, weight=1, port=99, target="machine.example")
    surroundings.records[f"_matrix-fed._tcp.{NAME}"] = [record]
    await surroundings.locate()
    surroundings.records["failing"] = []
    surroundings.now[0] += 400
    assert (await surroundings.locate()).authority == "machine.example:99"
    del surroundings.records["failing"]
    surroundings.records.clear()
    surroundings.now[0] += 31
    assert (await surroundings.locate()).authority == f"{NAME}:8448"


async def test_without_a_name_server_it_is_at_port_8448(surroundings: Surroundings) -> None:
    surroundings.records["failing"] = []
    assert (await surroundings.locate()).authority == f"{NAME}:8448"
