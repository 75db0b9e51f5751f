"""Objects in a bucket of an S3-compatible store.

What arrives lies in a nameless file until it is whole, sealed as it is, and then goes to the bucket in one request. So
whatever breaks off an upload leaves nothing there, parts neither, and memory holds some chunks only: parts of S3's
least size would take 5 MiB of each upload. obstore finds the credentials, signs, reads and removes; it can't send a
file of which it holds less than all.
"""

import asyncio
import re
import secrets
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from tim_server.media_store.errors import MediaStoreError, NoSpaceLeft, ObjectMissing, StoreRefused
from tim_server.media_store.objects import LETTING_GO_S, errors_told

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Store

PIECE_BYTES = 256 * 1024
CONNECTIONS_MAX = 32
CONNECT_TIMEOUT_S = 5.0
READS_REPEATED_MAX = 3
SEND_AGAIN_AFTER_S = (0.2, 1.0)
ANSWER_BYTES_MAX = 4_096
_SIGNATURE_LIFETIME = timedelta(minutes=15)
_CHECK_FOLDER = "check"
_FOLDER_MODE = 0o700
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
_BUSY = (408, 429)
_ELSEWHERE = "correct media_store.s3.region, or media_store.s3.endpoint"
_ADVICE = {
    "AccessDenied": "allow this key s3:PutObject, s3:GetObject and s3:DeleteObject there",
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "InvalidAccessKeyId": "correct media_store.s3.access_key_id",
    "NoSuchBucket": "make the bucket, or correct media_store.s3.bucket",
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": "set this machine's clock",
    "SignatureDoesNotMatch": "correct media_store.s3.secret_access_key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """Where a bucket is, and who asks. Names of objects begin with `prefix`. Without `endpoint` it is Amazon's; without
    keys, obstore looks for credentials as Amazon's tools do. `ca` has more authorities, as PEM."""

    bucket: str
    region: str
    prefix: str
    endpoint: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    ca: bytes | None = None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class BucketObjects:
    """The objects of a bucket whose names begin with a prefix. Files lie in `folder` while they arrive."""

    place: BucketPlace
    folder: Path
    _store: "S3Store"
    _session: aiohttp.ClientSession

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> None:
        """As in `Objects`; raises `StoreRefused` too."""
        with errors_told():
            file = await asyncio.to_thread(_new_file, self.folder)
        with file:
            async for part in parts:
                with errors_told():
                    await asyncio.to_thread(_write, file, part)
            await self._send(name, file)

    async def _send(self, name: str, file: IO[bytes]) -> None:
        for delay_s in SEND_AGAIN_AFTER_S:
            if await self._was_sent(name, file) is None:
                return
            await asyncio.sleep(delay_s)
        if reason := await self._was_sent(name, file):
            raise MediaStoreError(f"the object store does not take a file: {reason}")

    async def _was_sent(self, name: str, file: IO[bytes]) -> str | None:
        """None once the bucket has it, or what may pass; raises a `MediaStoreError` where it does not."""
        try:
            return await self._send_once(name, file)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    async def _send_once(self, name: str, file: IO[bytes]) -> str | None:
        import obstore

        with errors_told():
            size_bytes = file.seek(0, 2)
            file.seek(0)
            url = await obstore.sign_async(self._store, "PUT", self._named(name), _SIGNATURE_LIFETIME)
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        async with self._session.put(
            URL(url, encoded=True), data=_pieces_of(file), headers=headers, allow_redirects=False
        ) as response:
            if response.status == 200:
                return None
            code = _code_in((await response.content.read(ANSWER_BYTES_MAX)).decode("ascii", "replace"))
            if code in _FULL or response.status == 507:
                raise NoSpaceLeft("there is no space left in the bucket")
            if response.status >= 500 or response.status in _BUSY:
                return f"{response.status} {code}"
            raise _refusal(self.place, f"{response.status} {code}".strip(), code)

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        """As in `Objects`, with one request, which obstore repeats for what is missing where the store or a slow reader
        has it break off; raises `StoreRefused` too."""
        import obstore

        with errors_told(), _refusals_told(self.place):
            found = await obstore.get_async(self._store, self._named(name), options={"range": (start, end)})
            pieces = aiter(found.stream(min_chunk_size=PIECE_BYTES))
        while True:
            with errors_told(), _refusals_told(self.place):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def delete(self, name: str) -> None:
        """As in `Objects`; raises `StoreRefused` too."""
        import obstore

        with suppress(ObjectMissing), errors_told(), _refusals_told(self.place):
            await obstore.delete_async(self._store, self._named(name))

    async def check(self) -> None:
        """As in `Objects`."""
        name, content = f"{_CHECK_FOLDER}/{secrets.token_hex(20)}", secrets.token_bytes(32)
        await self.put(name, _one(content))
        if b"".join([piece async for piece in self.read(name, 0, len(content))]) != content:
            raise MediaStoreError("the object store gives other bytes than it was given")
        await self.delete(name)

    async def close(self) -> None:
        """As in `Objects`."""
        await self._session.close()
        await asyncio.sleep(LETTING_GO_S)

    def _named(self, name: str) -> str:
        return f"{self.place.prefix}{name}"


def open_bucket(place: BucketPlace, folder: Path) -> BucketObjects:
    """The objects of a bucket, by way of a folder, which is made where it is missing; raises OSError. Nobody is asked
    yet. Within a running event loop."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    tls = ssl.create_default_context()
    if place.ca is not None:
        tls.load_verify_locations(cadata=place.ca.decode("ascii"))
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=tls),
        timeout=aiohttp.ClientTimeout(total=place.timeout_s, sock_connect=CONNECT_TIMEOUT_S),
        trust_env=True,  # proxies, as obstore heeds them
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    return BucketObjects(place, folder, _open_store(place), session)


def _open_store(place: BucketPlace) -> "S3Store":
    from obstore.store import S3Store

    options: dict[str, Any] = {
        "endpoint": place.endpoint,
        "access_key_id": place.access_key_id,
        "secret_access_key": place.secret_access_key,
    }
    timeout = timedelta(seconds=place.timeout_s)
    client: ClientConfig = {
        "allow_http": place.endpoint is not None and place.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "timeout": timeout,
    }
    if place.ca is not None:
        client["root_certificate"] = place.ca
    return S3Store(
        place.bucket,
        region=place.region,
        virtual_hosted_style_request=False,
        client_options=client,
        retry_config={"max_retries": READS_REPEATED_MAX, "retry_timeout": timeout},
        **{name: value for name, value in options.items() if value is not None},
    )


def _new_file(folder: Path) -> IO[bytes]:
    """Without a buffer: one that a full disk has not taken would be written once more where the file is closed."""
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _write(file: IO[bytes], part: bytes) -> None:
    left = memoryview(part)
    while left:
        left = left[file.write(left) :]


async def _pieces_of(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _code_in(answer: str) -> str:
    """The error code in an answer of the store, empty where it has none."""
    found = _CODE.search(answer)
    return found[1] if found else ""


def _refusal(place: BucketPlace, what: str, code: str) -> StoreRefused:
    at = place.endpoint or f"Amazon, {place.region}"
    advice = _ADVICE.get(code, "look at the options of media_store.s3, and the store's log")
    return StoreRefused(f"the bucket {place.bucket} ({at}) answers {what}: {advice}")


@contextmanager
def _refusals_told(place: BucketPlace) -> Iterator[None]:
    """Turn what obstore raises where the store refuses into `StoreRefused`."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        code = _code_in(str(error))
        raise _refusal(place, code or type(error).__name__, code) from None
