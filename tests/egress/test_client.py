"""Outgoing requests, over real connections: who may be contacted, where, how, and what comes back."""

import asyncio
import gzip
import socket
import time

import pytest
from aiohttp import web

from tests.egress.conftest import Gate, at, get
from tim_server.egress.client import OutgoingRequest
from tim_server.egress.connector import CheckedResolver
from tim_server.egress.errors import ContactRefused, RemoteUnreachable, ResponseRefused
from tim_server.matrix.identifiers import ServerName


async def test_a_listed_server_is_reached_by_its_own_name(start_peer, make_client):
    peer = await start_peer()
    gate = Gate()
    client = make_client(gate, hosts=at(peer, "b.example"))
    response = await client.send(get("https://b.example/x?y=z", server_name=ServerName("b.example")))
    assert (response.status, response.body, response.url) == (200, b"hello", "https://b.example/x?y=z")
    assert peer.requests[0][:2] == ("/x", "b.example")
    assert gate.asked == ["b.example"]


async def test_body_and_headers_are_sent_and_errors_are_answers(start_peer, make_client):
    async def echo(request):
        return web.Response(status=403, body=await request.read(), headers={"X-Seen": request.headers["X-Sent"]})

    peer = await start_peer({"/echo": echo})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    request = OutgoingRequest(method="PUT", url="https://b.example/echo", headers={"X-Sent": "1"}, body=b"{}")
    response = await client.send(request)
    assert (response.status, response.body, response.headers["X-Seen"]) == (403, b"{}", "1")


async def test_without_a_gate_nobody_is_contacted(start_peer, make_client):
    peer = await start_peer()
    with pytest.raises(ContactRefused, match="no trust gate"):
        await make_client(hosts=at(peer, "b.example")).send(get("https://b.example/"))
    assert peer.connections == set()


async def test_the_gate_is_asked_about_the_server_and_its_no_is_final(start_peer, make_client):
    peer = await start_peer()
    client = make_client(Gate(refused={"b.example"}), hosts=at(peer, "c.example"))
    with pytest.raises(ContactRefused, match=r"b\.example is not listed"):
        await client.send(get("https://c.example/", server_name=ServerName("b.example")))
    assert peer.connections == set()


async def test_attempts_are_recorded_with_what_became_of_them(start_peer, make_client):
    peer = await start_peer()
    contacts = []
    gate = Gate(refused={"c.example:8448"})
    client = make_client(gate, record=contacts.append, hosts=at(peer, "b.example"))
    await client.send(get("https://b.example/secret", server_name=ServerName("b.example")))
    with pytest.raises(ContactRefused):
        await client.send(get("https://c.example:8448/"))
    assert [(c.server_name, c.host, c.method, c.refusal) for c in contacts] == [
        ("b.example", "b.example", "GET", None),
        ("", "c.example:8448", "GET", "c.example:8448 is not listed"),
    ]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"])
async def test_names_and_literals_do_not_lead_into_our_own_network(start_peer, make_client, host):
    peer = await start_peer()
    with pytest.raises(ContactRefused):
        await make_client(Gate()).send(get(f"https://{host}:{peer.port}/"))
    assert peer.connections == set()


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001", "0177.0.0.1"])
async def test_old_spellings_of_addresses_do_not_either(start_peer, make_client, host):
    peer = await start_peer()
    with pytest.raises((ContactRefused, RemoteUnreachable)):
        await make_client(Gate()).send(get(f"https://{host}:{peer.port}/"))
    assert peer.connections == set()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_networks_that_the_tenant_allows_are_reached(start_peer, make_client, host):
    peer = await start_peer()
    client = make_client(Gate(), allowed_networks=("127.0.0.0/8",))
    assert (await client.send(get(f"https://{host}:{peer.port}/"))).body == b"hello"


async def test_the_map_may_lead_to_a_name_whatever_its_address(start_peer, make_client):
    peer = await start_peer()
    client = make_client(Gate(), hosts={"b.example": f"localhost:{peer.port}"})
    assert (await client.send(get("https://b.example/"))).body == b"hello"


async def test_names_that_take_long_to_look_up_hold_up_no_others(start_peer, make_client, monkeypatch):
    peer = await start_peer()
    look_up = socket.getaddrinfo

    def slow_for_some(host, *args, flags=0, **options):
        if host.startswith("slow") and not flags:
            time.sleep(1)
        return look_up(host, *args, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow_for_some)
    client = make_client(Gate(), hosts=at(peer, "b.example"), allowed_networks=("127.0.0.0/8",))
    slow = [asyncio.create_task(client.send(get(f"https://slow{n}.invalid/", timeout_seconds=2))) for n in range(50)]
    await asyncio.sleep(0.05)
    for host in ("b.example", f"localhost:{peer.port}"):
        await client.send(get(f"https://{host}/", timeout_seconds=0.8))
    assert not any(task.done() for task in slow)
    await asyncio.gather(*slow, return_exceptions=True)


async def test_an_address_is_checked_when_connecting_even_if_it_passed_before(start_peer, make_client, monkeypatch):
    peer = await start_peer()

    async def rebound(self, host, port=0, family=0):
        return [{"hostname": host, "host": "127.0.0.1", "port": peer.port, "family": 2, "proto": 6, "flags": 0}]

    monkeypatch.setattr(CheckedResolver, "resolve", rebound)
    with pytest.raises(ContactRefused):
        await make_client(Gate()).send(get("https://b.example/"))
    assert peer.connections == set()


@pytest.mark.parametrize(
    "url",
    [
        "http://b.example/", "ftp://b.example/", "file:///etc/passwd", "//b.example/", "/path", "",
        "https://user:pass@b.example/", "https:///x", "https://b.example:99999/", "https://[::1/", "nonsense",
    ],
)  # fmt: skip
async def test_urls_that_may_not_be_asked_are_refused(start_peer, make_client, url):
    peer = await start_peer()
    with pytest.raises(ContactRefused):
        await make_client(Gate(), hosts=at(peer, "b.example")).send(get(url))
    assert peer.connections == set()


async def test_proxies_of_the_environment_are_not_used(start_peer, make_client, monkeypatch):
    peer = await start_peer()
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    assert (await client.send(get("https://b.example/"))).status == 200


async def test_cookies_are_not_kept(start_peer, make_client):
    peer = await start_peer({"/": web.Response(headers={"Set-Cookie": "a=b"})})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    for _ in range(2):
        await client.send(get("https://b.example/"))
    assert "Cookie" not in peer.requests[1][2]


# Redirects


def redirect_to(location, status=302):
    return web.Response(status=status, headers={"Location": location})


async def test_redirects_are_answers_unless_asked_for(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("https://c.example/b")})
    client = make_client(Gate(), hosts=at(peer, "b.example", "c.example"))
    response = await client.send(get("https://b.example/a"))
    assert (response.status, response.headers["Location"]) == (302, "https://c.example/b")
    assert len(peer.requests) == 1


async def test_each_redirect_is_decided_like_a_first_request(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("https://c.example/b"), "/b": redirect_to("/c", 308)})
    gate = Gate()
    client = make_client(gate, hosts=at(peer, "b.example", "c.example"))
    response = await client.send(get("https://b.example/a", redirects_max=3))
    assert (response.body, response.url) == (b"hello", "https://c.example/c")
    assert gate.asked == ["b.example", "c.example", "c.example"]
    strict = make_client(Gate(refused={"c.example"}), hosts=at(peer, "b.example", "c.example"))
    with pytest.raises(ContactRefused):
        await strict.send(get("https://b.example/a", redirects_max=3))


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "https://[::1]:{port}/",
        "http://b.example/",
        "//[::1/",
        "http:",
        "mailto:somebody@b.example",
        "https://somebody@b.example/",
    ],
)
async def test_a_redirect_leads_neither_into_our_network_nor_out_of_tls(start_peer, make_client, location):
    peer, inner = await start_peer(), await start_peer()
    peer.pages["/a"] = redirect_to(location.format(port=inner.port))
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    with pytest.raises(ContactRefused):
        await client.send(get("https://b.example/a", redirects_max=1))
    assert len(peer.requests) == 1
    assert inner.connections == set()


@pytest.mark.parametrize("host", ["xn--a", "xn--a.invalid", "xn--", "a-.invalid", "-", "a..b"])
async def test_names_that_are_none_lead_nowhere(start_peer, make_client, host):
    """Also such as say to be in Punycode and are not."""
    peer = await start_peer({"/a": redirect_to(f"https://{host}/")})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    for url in ("https://b.example/a", f"https://{host}/"):
        with pytest.raises(RemoteUnreachable):
            await client.send(get(url, redirects_max=1))


async def test_a_redirect_to_another_host_is_contact_with_that_host(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("https://c.example/b")})
    gate = Gate()
    client = make_client(gate, hosts=at(peer, "b.example", "c.example"))
    await client.send(get("https://b.example/a", server_name=ServerName("b.example"), redirects_max=1))
    assert gate.asked == ["b.example", "c.example"]


async def test_a_redirect_below_the_servers_own_name_is_contact_with_the_same_server(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("https://c.example/b")})
    gate = Gate()
    client = make_client(gate, hosts=at(peer, "b.example", "c.example"))
    await client.send(get("https://b.example/a", server_name=ServerName("example:8448"), redirects_max=1))
    assert gate.asked == ["example:8448", "example:8448"]


async def test_credentials_do_not_go_to_another_origin(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("/b"), "/b": redirect_to("https://c.example/c")})
    client = make_client(Gate(), hosts=at(peer, "b.example", "c.example"))
    headers = {"Authorization": "X-Matrix secret", "Accept": "image/png"}
    await client.send(get("https://b.example/a", redirects_max=2, headers=headers))
    seen = [(path, sent.get("Authorization"), sent.get("Accept")) for path, _host, sent in peer.requests]
    assert seen == [
        ("/a", "X-Matrix secret", "image/png"),
        ("/b", "X-Matrix secret", "image/png"),
        ("/c", None, "image/png"),
    ]


async def test_redirects_end(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("/a")})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    with pytest.raises(ResponseRefused):
        await client.send(get("https://b.example/a", redirects_max=3))
    assert len(peer.requests) == 4


async def test_a_request_with_a_body_is_not_sent_elsewhere(start_peer, make_client):
    peer = await start_peer({"/a": redirect_to("/b", 307)})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    with pytest.raises(ResponseRefused):
        await client.send(OutgoingRequest(method="POST", url="https://b.example/a", body=b"x", redirects_max=3))
    assert [request[0] for request in peer.requests] == ["/a"]


# Limits


async def drip(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b"x" * 1000)
        await asyncio.sleep(0.02)
    return response


async def hang(request):
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize(
    "page",
    [
        web.Response(body=b"x" * 1001),
        web.Response(body=gzip.compress(b"x" * 10_000_000), headers={"Content-Encoding": "gzip"}),
        drip,
    ],
)
async def test_answers_are_read_up_to_a_limit(start_peer, make_client, page):
    peer = await start_peer({"/big": page})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    with pytest.raises(ResponseRefused):
        await client.send(get("https://b.example/big", response_size_bytes_max=1000))
    assert (await client.send(get("https://b.example/", response_size_bytes_max=5))).body == b"hello"


@pytest.mark.parametrize("page", [hang, drip])
async def test_an_answer_must_be_complete_in_time(start_peer, make_client, page):
    peer = await start_peer({"/slow": page})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    started = time.monotonic()
    with pytest.raises(RemoteUnreachable, match="in time"):
        await client.send(get("https://b.example/slow", timeout_seconds=0.3))
    assert time.monotonic() - started < 2


async def test_a_closed_port_and_an_unknown_name_are_unreachable(make_client):
    client = make_client(Gate(), hosts={"b.example": "127.0.0.1:9", "c.example": "no-such-name.invalid:1"})
    for name in ("b.example", "c.example"):
        with pytest.raises(RemoteUnreachable):
            await client.send(get(f"https://{name}/"))


async def test_a_body_can_be_streamed(start_peer, make_client):
    peer = await start_peer({"/drip": drip})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    received = 0
    async with client.stream(get("https://b.example/drip")) as response:
        assert response.status == 200
        async for chunk in response.chunks:
            received += len(chunk)
            if received > 5000:
                break
    assert 5000 < received < 100_000


# Endpoints and pools


async def test_an_endpoint_of_the_operators_is_reached_on_loopback_without_a_gate(start_peer, make_client):
    peer = await start_peer(tls=False)
    client = make_client(endpoint=f"127.0.0.1:{peer.port}")
    assert (await client.send(get(f"http://127.0.0.1:{peer.port}/_matrix/app"))).body == b"hello"


async def test_a_client_for_an_endpoint_reaches_nothing_else(start_peer, make_client):
    peer, other = await start_peer(tls=False), await start_peer(tls=False)
    peer.pages["/away"] = redirect_to(f"http://127.0.0.1:{other.port}/")
    client = make_client(Gate(), endpoint=f"127.0.0.1:{peer.port}")
    for request in (
        get(f"http://127.0.0.1:{other.port}/"),
        get(f"http://localhost:{peer.port}/"),
        get(f"http://127.0.0.1:{peer.port}/away", redirects_max=1),
    ):
        with pytest.raises(ContactRefused, match="not the configured endpoint"):
            await client.send(request)
    assert other.connections == set()


async def test_connections_are_kept_until_they_are_left(start_peer, make_client):
    peer = await start_peer()
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    for _ in range(3):
        await client.send(get("https://b.example/"))
    assert len(peer.connections) == 1
    await client.close_connections()
    await client.send(get("https://b.example/"))
    assert len(peer.connections) == 2


async def test_leaving_the_connections_lets_finish_what_is_in_flight(start_peer, make_client):
    has_arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request):
        has_arrived.set()
        await go_on.wait()
        return web.Response(body=b"done")

    peer = await start_peer({"/wait": wait})
    client = make_client(Gate(), hosts=at(peer, "b.example"))
    waiting = asyncio.create_task(client.send(get("https://b.example/wait")))
    await asyncio.wait_for(has_arrived.wait(), 5)
    await client.close_connections()
    await client.send(get("https://b.example/"))
    go_on.set()
    assert (await waiting).body == b"done"
