"""An S3-compatible store for tests: moto, in a process of its own, so that what it takes is not the server's."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import obstore
from obstore.store import S3Store

from tests.ports import free_ports

REGION = "eu-central-1"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class S3:
    """A store that runs, whose secrets anybody may make up."""

    endpoint: str

    async def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        place = (
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        )
        async with (
            aiohttp.ClientSession() as session,
            session.put(f"{self.endpoint}/{name}", data=place, headers=_ANYBODY) as response,
        ):
            assert response.status == 200, await response.text()

    def options(self, bucket: str) -> dict[str, Any]:
        """The section `media_store.s3`."""
        return {
            "bucket": bucket,
            "endpoint": self.endpoint,
            "region": REGION,
            "access_key_id": "anybody",
            "secret_access_key": "anything",
        }

    def look_into(self, bucket: str) -> S3Store:
        """A bucket, for those who want to see or change what is in it."""
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id="anybody",
            secret_access_key="anything",
            client_options={"allow_http": True},
        )


_ANYBODY = {"Authorization": f"AWS4-HMAC-SHA256 Credential=anybody/20260101/{REGION}/s3/aws4_request"}


async def names_in(store: S3Store) -> set[str]:
    """The names of all objects."""
    return {meta["path"] for meta in await obstore.list(store).collect_async()}


@asynccontextmanager
async def run_s3() -> AsyncIterator[S3]:
    """A store that ends with the block."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)),
        env={**os.environ, "MOTO_ALLOW_NONEXISTENT_REGION": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        s3 = S3(f"http://127.0.0.1:{port}")
        await _answers(s3.endpoint)
        yield s3
    finally:
        process.kill()
        await process.wait()


async def _answers(endpoint: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                async with session.get(f"{endpoint}/moto-api/") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
