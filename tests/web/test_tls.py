"""TLS 1.2 at least, and certificates that change while the server runs."""

import asyncio
import datetime
import os
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.web.conftest import make_tenant
from tests.web.toy_routes import ROUTES
from tim_server.web.server import Listener, WebServer
from tim_server.web.tenants import HostedTenant
from tim_server.web.tls import TlsFiles


def write_certificate(folder, name):
    """A self-signed certificate for `name` in `folder`, dated so that it differs from the last one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(certificate=folder / "cert.pem", private_key=folder / "key.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
async def tls_server(tmp_path):
    files = write_certificate(tmp_path, "first.example")
    server = WebServer(
        listeners=[Listener(routes=ROUTES, tls=files)],
        tenants=[HostedTenant(homeserver=make_tenant(), host_names=["a"])],
    )
    await server.start()
    yield server
    await server.stop()


async def handshake(server, **options):
    """The connection's certificate, version, cipher, and the answer to a request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    for name, value in options.items():
        setattr(context, name, value)
    host, port = server.addresses[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    secured = writer.get_extra_info("ssl_object")
    writer.write(b"GET /_matrix/client/v3/whoami HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))
    name = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    return name, secured.version(), secured.cipher()[0], answer


async def test_https_is_served_and_known_to_be_https(tls_server):
    name, version, _cipher, answer = await handshake(tls_server)
    assert (name, version) == ("first.example", "TLSv1.3")
    assert b'"scheme":"https"' in answer


async def test_tls_1_2_is_served_with_forward_secrecy(tls_server):
    _name, version, cipher, _answer = await handshake(tls_server, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert version == "TLSv1.2"
    assert cipher.startswith("ECDHE-") and ("GCM" in cipher or "CHACHA20" in cipher)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_older_versions_are_refused(tls_server):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await handshake(tls_server, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)


def touch(path, seconds):
    stat = path.stat()
    os.utime(path, (stat.st_atime, stat.st_mtime + seconds))


async def test_a_new_certificate_is_taken_without_a_restart(tls_server, tmp_path):
    files = write_certificate(tmp_path, "second.example")
    touch(files.certificate, 10)
    tls_server.reload_tls()
    assert (await handshake(tls_server))[0] == "second.example"


async def test_a_certificate_that_cannot_be_used_is_reported_and_the_old_one_kept(tls_server, tmp_path, captured_log):
    (tmp_path / "key.pem").write_text("nonsense")
    touch(tmp_path / "key.pem", 10)
    tls_server.reload_tls()
    assert (await handshake(tls_server))[0] == "first.example"
    assert [event["event"] for event in captured_log] == ["certificate_not_reloaded"]


async def test_a_missing_certificate_is_refused_at_the_start(tmp_path):
    files = TlsFiles(certificate=tmp_path / "none.pem", private_key=tmp_path / "none.pem")
    server = WebServer(
        listeners=[Listener(routes=ROUTES, tls=files)],
        tenants=[HostedTenant(homeserver=make_tenant(), host_names=["a"])],
    )
    with pytest.raises(OSError):
        await server.start()


async def test_an_operator_may_want_tls_1_3_only(tmp_path):
    server = WebServer(
        listeners=[
            Listener(
                routes=ROUTES, tls=write_certificate(tmp_path, "a.example"), tls_version_min=ssl.TLSVersion.TLSv1_3
            )
        ],
        tenants=[HostedTenant(homeserver=make_tenant(), host_names=["a"])],
    )
    await server.start()
    try:
        assert (await handshake(server))[1] == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(server, maximum_version=ssl.TLSVersion.TLSv1_2)
    finally:
        await server.stop()
