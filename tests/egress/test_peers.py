"""TLS of outgoing requests, over real connections: whom a certificate is of, and who looks at it before anything is
sent."""

import os
import ssl

import pytest

from tests.certificates import make_certificate
from tests.egress.conftest import Gate, at, get
from tim_server.egress.errors import ContactRefused, RemoteUnreachable
from tim_server.egress.tls import PeerTls, client_tls
from tim_server.matrix.identifiers import ServerName


async def test_the_certificate_must_have_the_name(start_peer, make_client):
    peer = await start_peer()
    client = make_client(Gate(), hosts=at(peer, "evil.example"))
    with pytest.raises(RemoteUnreachable):
        await client.send(get("https://evil.example/"))
    response = await client.send(get("https://evil.example/", tls_server_name="b.example"))
    assert response.status == 200
    assert len(peer.requests) == 1


async def test_the_certificate_must_reach_an_anchor(start_peer, make_client):
    peer = await start_peer()
    client = make_client(Gate(), tls=client_tls(), hosts=at(peer, "b.example"))
    with pytest.raises(RemoteUnreachable):
        await client.send(get("https://b.example/"))
    assert peer.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_tls_is_refused(start_peer, make_client, authority):
    context = authority.server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    peer = await start_peer(context=context)
    with pytest.raises(RemoteUnreachable):
        await make_client(Gate(), hosts=at(peer, "b.example")).send(get("https://b.example/"))


async def test_our_certificate_is_shown_where_the_other_side_asks(start_peer, make_client, authority):
    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    peer = await start_peer(context=context)
    ours = client_tls(
        ca_files=[authority.ca], use_system_cas=False, client_certificate=(authority.certificate, authority.key)
    )
    assert (
        await make_client(Gate(), tls=ours, hosts=at(peer, "b.example")).send(get("https://b.example/"))
    ).status == 200
    with pytest.raises(RemoteUnreachable):
        await make_client(Gate(), hosts=at(peer, "b.example")).send(get("https://b.example/"))


class Check:
    """Finds everybody fine but those in `refused`; notes what it sees."""

    def __init__(self, refused=()):
        self.refused, self.seen, self.failed = set(refused), [], []

    async def check(self, connection):
        self.seen.append(connection)
        if connection.host in self.refused:
            raise ContactRefused("revoked")
        return f"found {connection.server_name}"

    def handshake_failed(self, server_name, reason):
        self.failed.append((server_name, reason))


async def test_each_connection_is_inspected_before_anything_is_sent(start_peer, make_client, authority):
    peer = await start_peer()
    check = Check({"c.example"})
    client = make_client(Gate(), peer_check=check, hosts=at(peer, "b.example", "c.example"))
    async with client.stream(get("https://b.example/", server_name=ServerName("org.example"))) as response:
        assert response.finding == "found org.example"
    with pytest.raises(ContactRefused, match="revoked"):
        await client.send(get("https://c.example/"))
    first, second = check.seen
    assert (first.server_name, first.host, second.host) == ("org.example", "b.example", "c.example")
    assert (first.address, first.port) == ("127.0.0.1", peer.port)
    assert first.certificates == (ssl.PEM_cert_to_DER_cert(authority.certificate.read_text()),)
    assert len(peer.requests) == 1


async def test_a_pooled_connection_is_inspected_again(start_peer, make_client):
    peer = await start_peer()
    check = Check()
    client = make_client(Gate(), peer_check=check, hosts=at(peer, "b.example"))
    for _ in range(2):
        await client.send(get("https://b.example/"))
    assert (len(check.seen), len(peer.connections)) == (2, 1)
    check.refused.add("b.example")
    with pytest.raises(ContactRefused, match="revoked"):
        await client.send(get("https://b.example/"))
    check.refused.clear()
    await client.send(get("https://b.example/"))
    assert (len(peer.requests), len(peer.connections)) == (3, 2)


async def test_a_certificate_that_tls_refuses_is_told_of(start_peer, make_client):
    peer = await start_peer()
    check = Check()
    client = make_client(Gate(), tls=client_tls(), peer_check=check, hosts=at(peer, "b.example"))
    with pytest.raises(RemoteUnreachable, match="certificate is not accepted"):
        await client.send(get("https://b.example/", server_name=ServerName("org.example")))
    assert check.failed == [("org.example", "unable to get local issuer certificate")]


def test_a_renewed_certificate_of_ours_is_taken(tmp_path):
    first, second, other = (make_certificate(None, ["a.example"]) for _ in range(3))
    files = first.write(tmp_path)
    tls = PeerTls(context=client_tls(use_system_cas=False), certificate=(files.certificate, files.private_key))
    assert not tls.reload_if_changed()
    second.write(tmp_path)
    later(files, 10)
    assert tls.reload_if_changed()
    files.certificate.write_bytes(other.pem)
    later(files, 20)
    with pytest.raises(ssl.SSLError):
        tls.reload_if_changed()
    assert not PeerTls(context=client_tls(use_system_cas=False)).reload_if_changed()


def later(files, seconds):
    """Date the files so that they differ from before, however coarse the file system's clock is."""
    for file in (files.certificate, files.private_key):
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime + seconds))
