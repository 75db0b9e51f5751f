"""The TLS options of a listener reach it."""

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.people import MEDIA_STORE
from tests.web.test_tls import write_certificate
from tim_server.app import prepare, start_process
from tim_server.config.settings import Settings


async def version_spoken(address: str, version_max: ssl.TLSVersion) -> str | None:
    """The version of TLS that a client who knows none above `version_max` speaks with the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version_max
    host, port = address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    version: str | None = writer.get_extra_info("ssl_object").version()
    writer.close()
    return version


@pytest.mark.parametrize("version_min", ["1.2", "1.3"])
async def test_the_oldest_version_of_tls_is_the_operators_choice(
    tenant_dsn: str, tmp_path: Path, version_min: str
) -> None:
    files = write_certificate(tmp_path, "hospital.example")
    tls = {"certificate": str(files.certificate), "private_key": str(files.private_key), "version_min": version_min}
    settings = Settings.model_validate(
        {
            "data_dir": str(tmp_path),
            "media_store": MEDIA_STORE,
            "listeners": [{"port": 0, "tls": tls}],
            "tenants": [{"server_name": "hospital.example", "database": {"dsn": tenant_dsn}}],
        }
    )
    await prepare(settings)
    async with start_process(settings) as process:
        address = process.web_server.addresses[0]
        assert await version_spoken(address, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        if version_min == "1.2":
            assert await version_spoken(address, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await version_spoken(address, ssl.TLSVersion.TLSv1_2)
