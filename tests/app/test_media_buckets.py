"""Files in a bucket of an S3-compatible store, and what a server does at its start that can't use it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.files import download, uploaded
from tests.people import MEDIA_STORE, run_hospital
from tests.ports import free_ports
from tests.s3 import S3, names_in, run_s3
from tim_server.cli.failures import EXIT_CONFIGURATION, exit_code_of
from tim_server.config.load import ConfigurationError

MakeDsn = Callable[[], Awaitable[str]]
BUCKET = "hospital-files"


@pytest.fixture(scope="module")
async def s3() -> AsyncIterator[S3]:
    async with run_s3() as store:
        await store.make_bucket(BUCKET)
        yield store


def options(s3: S3, **changed: Any) -> dict[str, Any]:
    return {"media_store": {**MEDIA_STORE, "s3": s3.options(BUCKET) | changed}}


async def test_files_lie_in_the_bucket_and_nowhere_else(make_tenant_dsn: MakeDsn, tmp_path: Path, s3: S3) -> None:
    content = b"Diagnosis: planted text. " * 40_000
    async with run_hospital(await make_tenant_dsn(), tmp_path, process=options(s3, prefix="tim/files/")) as hospital:
        alice = await hospital.person()
        file = await uploaded(alice, content, filename="planted name.txt")
        assert (await download(alice, file)).body == content
        part = await download(alice, file, Range="bytes=600000-600009")
        assert part.status == 206 and part.body == content[600_000:600_010]
    behind = s3.look_into(BUCKET)
    (name,) = await names_in(behind)
    assert name.startswith("tim/files/tenant_hospital_example_")
    stored = bytes(await (await obstore.get_async(behind, name)).bytes_async())
    assert b"planted" not in stored and b"planted" not in name.encode()
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


async def test_a_bucket_that_is_not_there_refuses_to_start(make_tenant_dsn: MakeDsn, tmp_path: Path, s3: S3) -> None:
    with pytest.raises(ConfigurationError, match=r"media_store\.s3.*nowhere.*NoSuchBucket") as refusal:
        async with run_hospital(await make_tenant_dsn(), tmp_path, process=options(s3, bucket="nowhere")):
            pass
    assert exit_code_of(refusal.value) == EXIT_CONFIGURATION


async def test_authorities_that_are_none_refuse_to_start(make_tenant_dsn: MakeDsn, tmp_path: Path, s3: S3) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"media_store\.s3\.ca_file.*ca\.pem"):
        async with run_hospital(await make_tenant_dsn(), tmp_path, process=options(s3, ca_file=str(path))):
            pass


async def test_a_key_without_its_secret_refuses_to_start(make_tenant_dsn: MakeDsn, tmp_path: Path, s3: S3) -> None:
    with pytest.raises(ConfigurationError, match="secret_access_key"):
        async with run_hospital(await make_tenant_dsn(), tmp_path, process=options(s3, secret_access_key=None)):
            pass


async def test_a_store_that_is_away_takes_no_more_than_files(make_tenant_dsn: MakeDsn, tmp_path: Path, s3: S3) -> None:
    (port,) = free_ports(1)
    away = options(s3, endpoint=f"http://127.0.0.1:{port}")
    async with run_hospital(await make_tenant_dsn(), tmp_path, process=away) as hospital:
        alice = await hospital.person()
        async with alice.session.post(
            "/_matrix/media/v3/upload", data=b"content", headers={"Authorization": f"Bearer {alice.token}"}
        ) as response:
            assert response.status == 503
        assert "next_batch" in await alice.get("sync", timeout=0)
