"""A store that checks signatures takes ours, and what it refuses is told to operators in words that help."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.objects import put
from tests.people import MEDIA_STORE, run_hospital
from tests.s3 import REGION, S3, names_in, run_s3
from tests.s3_gate import Gate, run_gate
from tests.s3_signatures import SignatureCheck
from tim_server.config.load import ConfigurationError
from tim_server.media_store.bucket import BucketPlace, open_bucket
from tim_server.media_store.errors import StoreRefused

KEY, SECRET = "anybody", "anything"  # as tests.s3 names them
BUCKET = "hospital-files"


@pytest.fixture(scope="module")
async def s3() -> AsyncIterator[S3]:
    async with run_s3() as store:
        await store.make_bucket(BUCKET)
        yield store


@pytest.fixture
async def gate(s3: S3) -> AsyncIterator[Gate]:
    async with run_gate(s3) as gate:
        gate.check = SignatureCheck(secrets={KEY: SECRET})
        yield gate


@pytest.mark.parametrize("prefix", ["", "tim/files_of.a-hospital/"])
async def test_whatever_we_ask_for_is_signed(gate: Gate, tmp_path: Path, prefix: str) -> None:
    place = BucketPlace(prefix=prefix, timeout_s=30.0, **gate.s3.options(BUCKET))
    objects = open_bucket(place, tmp_path)
    content, name = secrets.token_bytes(600_000), f"ab/{secrets.token_hex(19)}"
    await put(objects, name, content)
    assert await names_in(gate.s3.look_into(BUCKET)) == {prefix + name}
    (listed,) = [each async for each in objects.list("ab")]
    assert listed == await objects.find(name) and listed.size_bytes == len(content)
    for start, end in ((0, len(content)), (5, 6), (300_000, 600_000)):
        assert b"".join([piece async for piece in objects.read(name, start, end)]) == content[start:end]
    await objects.delete(name)
    await objects.check()
    assert await names_in(gate.s3.look_into(BUCKET)) == set()
    await objects.close()
    assert set(gate.passed) == {"PUT", "GET", "HEAD", "DELETE"}


async def test_credentials_of_the_environment_sign_too(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token+/=")
    place = BucketPlace(bucket=BUCKET, region=REGION, prefix="", endpoint=gate.s3.endpoint, timeout_s=30.0)
    objects = open_bucket(place, tmp_path)
    await objects.check()
    await objects.close()
    assert gate.passed == ["PUT", "GET", "DELETE"]


@pytest.mark.parametrize(
    ("changed", "code", "advice"),
    [
        ({"secret_access_key": "another"}, "SignatureDoesNotMatch", "media_store.s3.secret_access_key"),
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId", "media_store.s3.access_key_id"),
        ({"region": "us-east-1"}, "AuthorizationQueryParametersError", "media_store.s3.region"),
    ],
    ids=["secret", "key", "region"],
)
async def test_wrong_keys_refuse_to_start(
    make_tenant_dsn: Callable[[], Awaitable[str]],
    tmp_path: Path,
    gate: Gate,
    changed: dict[str, Any],
    code: str,
    advice: str,
) -> None:
    options = {"media_store": {**MEDIA_STORE, "s3": gate.s3.options(BUCKET) | changed}}
    with pytest.raises(ConfigurationError) as refusal:
        async with run_hospital(await make_tenant_dsn(), tmp_path, process=options):
            pass
    text = str(refusal.value)
    assert code in text and advice in text
    assert "anything" not in text and "another" not in text and "Signature=" not in text


async def test_a_wrong_secret_is_told_whatever_is_asked_for(gate: Gate, tmp_path: Path) -> None:
    options = gate.s3.options(BUCKET) | {"secret_access_key": "another"}
    objects = open_bucket(BucketPlace(prefix="", timeout_s=30.0, **options), tmp_path)
    for ask in (
        put(objects, "ab/c", b"x"),
        anext(objects.read("ab/c", 0, 1)),
        anext(objects.list("ab")),
        objects.delete("ab/c"),
    ):
        with pytest.raises(StoreRefused, match=r"SignatureDoesNotMatch.*secret_access_key"):
            await ask
    with pytest.raises(StoreRefused):  # where the answer has no body
        await objects.find("ab/c")
    await objects.close()
    assert gate.passed == []


@pytest.mark.parametrize("ahead_h", [1, -1])
async def test_a_clock_that_is_wrong_is_told(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path, gate: Gate, ahead_h: int
) -> None:
    gate.check = SignatureCheck(secrets={KEY: SECRET}, ahead=timedelta(hours=ahead_h))
    options = {"media_store": {**MEDIA_STORE, "s3": gate.s3.options(BUCKET)}}
    with pytest.raises(ConfigurationError, match="clock"):
        async with run_hospital(await make_tenant_dsn(), tmp_path, process=options):
            pass
