"""Real servers for outgoing requests: HTTP and HTTPS on loopback, with a certificate authority of the tests' own."""

import asyncio
import datetime
import ipaddress
import ssl
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tim_server.egress.client import OutgoingClient, OutgoingRequest, OutgoingSettings
from tim_server.egress.tls import client_tls
from tim_server.trust.verdict import Verdict

NAMES = ("b.example", "c.example", "localhost")


def write_pem(path, certificate, key=None):
    """A certificate, or with `key` that key, as PEM in `path`."""
    if key is None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    else:
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return path


def make_certificate(name, issuer_name, public_key, signing_key, alternative_names=()):
    """A certificate that is valid today; with alternative names for a server, without for an authority."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer_name)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not alternative_names, path_length=None), critical=True)
    )
    if alternative_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


@dataclass(frozen=True)
class Authority:
    """Files of the tests' authority, and of a server that it certified."""

    ca: object
    certificate: object
    key: object

    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authority")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    ca = make_certificate("test authority", "test authority", ca_key.public_key(), ca_key)
    names = [*(x509.DNSName(name) for name in NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = make_certificate("server", "test authority", key.public_key(), ca_key, names)
    return Authority(
        ca=write_pem(folder / "ca.pem", ca),
        certificate=write_pem(folder / "cert.pem", certificate),
        key=write_pem(folder / "key.pem", certificate, key),
    )


@dataclass
class Peer:
    """A server that answers as its table of `pages` says, and notes who asked what."""

    port: int = 0
    pages: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    connections: set = field(default_factory=set)

    async def answer(self, request):
        self.requests.append((request.path, request.headers.get("Host"), dict(request.headers)))
        self.connections.add(request.transport.get_extra_info("peername"))
        page = self.pages.get(request.path, web.Response(body=b"hello"))
        if callable(page):
            return await page(request)
        return web.Response(status=page.status, body=page.body, headers=page.headers)


@pytest.fixture
async def start_peer(authority):
    """A function that starts a peer, over TLS unless `tls=False`."""
    servers = []

    async def start(pages=None, *, tls=True, context=None):
        peer = Peer(pages=pages or {})
        server = web.Server(peer.answer, access_log=None)
        context = context or (authority.server_context() if tls else None)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=context)
        peer.port = listening.sockets[0].getsockname()[1]
        servers.append((server, listening))
        return peer

    yield start
    for server, listening in servers:
        listening.close()
        await server.shutdown(0.1)


class Gate:
    """Allows everybody but those in `refused`, and remembers who was asked about."""

    def __init__(self, refused=()):
        self.refused = refused
        self.asked = []

    async def may_contact(self, server_name):
        self.asked.append(server_name)
        return Verdict(is_allowed=server_name not in self.refused, reason=f"{server_name} is not listed")


@pytest.fixture
async def make_client(authority):
    """A function that makes a client: settings by keyword; `gate`, `tls`, `peer_check`, `record` go to the client."""
    clients = []

    def make(gate=None, tls=None, peer_check=None, record=None, **settings):
        client = OutgoingClient(
            settings=OutgoingSettings(**settings),
            gate=gate,
            tls=tls or client_tls(ca_files=[authority.ca], use_system_cas=False),
            peer_check=peer_check,
            record=record,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


def get(url, **options):
    return OutgoingRequest(method="GET", url=url, **options)


def at(peer, *names):
    """A static map that leads `names` to the peer."""
    return {name: f"127.0.0.1:{peer.port}" for name in names}
