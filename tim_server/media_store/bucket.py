"""Objects in a bucket of an S3-compatible store.

What arrives lies in a nameless file until it is whole, sealed as it is, and then goes to the bucket in one request. So
whatever breaks off an upload leaves nothing there, parts neither, and memory holds some chunks only: parts of S3's
least size would take 5 MiB of each upload. Its digest goes with it, so that the store refuses what was altered on the
way. obstore finds the credentials, signs and reads; it can't send a file of which it holds less than all.
"""

import asyncio
import base64
import hashlib
import re
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import aiohttp
from yarl import URL

from tim_server.media_store.errors import MediaStoreError, NoSpaceLeft, ObjectMissing, StoreRefused
from tim_server.media_store.objects import StoredObject, Write, errors_told, in_thread, write_all

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, S3Store

PIECE_BYTES = 256 * 1024
CONNECTIONS_MAX = 32
CONNECT_TIMEOUT_S = 5.0
READS_REPEATED_MAX = 3
ASK_AGAIN_AFTER_S = (0.2, 1.0)
ANSWER_BYTES_MAX = 4_096
LISTED_AT_ONCE = 1_000
CHECK_NAME = "check"
LETTING_GO_S = 0.5
"""How long threads of obstore go on with what was broken off. A process that ends meanwhile is aborted."""

_SIGNATURE_LIFETIME = timedelta(minutes=15)
_CHECK_CONTENT = b"written, read and removed when tim-server starts"
_FOLDER_MODE = 0o700
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_TIMES_DIFFER = re.compile(r"<Message>Request (?:has expired|is not valid yet)")
_FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
_BUSY = (408, 429)
_PASSING = ("BadDigest", "IncompleteBody", "RequestTimeout")
_SET_CLOCK = "set this machine's clock"
_ELSEWHERE = "correct media_store.s3.region, or media_store.s3.endpoint"
_ADVICE = {
    "AccessDenied": "allow this key s3:PutObject, s3:GetObject and s3:DeleteObject there, s3:ListBucket to check it",
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "AuthorizationQueryParametersError": _ELSEWHERE,
    "InvalidAccessKeyId": "correct media_store.s3.access_key_id",
    "NoSuchBucket": "make the bucket, or correct media_store.s3.bucket",
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": _SET_CLOCK,
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

    @asynccontextmanager
    async def draft(self, name: str) -> AsyncIterator[Write]:
        """As in `Objects`; raises `StoreRefused` too."""
        with errors_told():
            arriving = await in_thread(_Arriving.begin, self.folder)
        with arriving.file:
            yield arriving.write
            await self._insist("PUT", name, arriving)

    async def _insist(self, method: Literal["PUT", "DELETE"], name: str, sent: "_Arriving | None" = None) -> None:
        """Ask, again where what is in the way may pass; raises a `MediaStoreError` where it does not."""
        for delay_s in ASK_AGAIN_AFTER_S:
            if await self._ask(method, name, sent) is None:
                return
            await asyncio.sleep(delay_s)
        if reason := await self._ask(method, name, sent):
            raise MediaStoreError(f"the object store does not carry out a {method}: {reason}")

    async def _ask(self, method: Literal["PUT", "DELETE"], name: str, sent: "_Arriving | None") -> str | None:
        """None once it is done, or what may pass; raises a `MediaStoreError` where that is refused."""
        import obstore

        with _errors_told(self.place):
            url = await obstore.sign_async(self._store, method, self._named(name), _SIGNATURE_LIFETIME)
            headers, pieces = ({}, None) if sent is None else (sent.headers(), sent.pieces())
        try:
            async with self._session.request(
                method, URL(url, encoded=True), data=pieces, headers=headers, allow_redirects=False
            ) as response:
                answer = (await response.content.read(ANSWER_BYTES_MAX)).decode("ascii", "replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
        if method == "DELETE" and _code_in(answer) == "NoSuchKey":
            return None
        return self._obstacle_in(response.status, answer)

    def _obstacle_in(self, status: int, answer: str) -> str | None:
        code = _code_in(answer)
        if status in (200, 204):
            return None
        if code in _FULL or status == 507:
            raise NoSpaceLeft("there is no space left in the bucket")
        if status >= 500 or status in _BUSY or code in _PASSING:
            return f"{status} {code}"
        raise _refusal(self.place, str(status), answer)

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        """As in `Objects`, with one request, and with another for what is missing where one breaks off: a slow reader
        takes longer than a request may. Raises `StoreRefused` too."""
        while start < end:
            begin = start
            try:
                async with aclosing(self._read_on(name, start, end)) as pieces:
                    async for piece in pieces:
                        start += len(piece)
                        yield piece
                return
            except MediaStoreError:
                if start == begin:
                    raise

    async def _read_on(self, name: str, start: int, end: int) -> AsyncGenerator[bytes]:
        import obstore

        with _errors_told(self.place):
            found = await obstore.get_async(self._store, self._named(name), options={"range": (start, end)})
            pieces = aiter(found.stream(min_chunk_size=PIECE_BYTES))
        while True:
            with _errors_told(self.place):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def list(self, folder: str) -> AsyncGenerator[StoredObject]:
        """As in `Objects`, some at a time; raises `StoreRefused` too."""
        import obstore

        with _errors_told(self.place):
            pages = aiter(obstore.list(self._store, self._named(f"{folder}/"), chunk_size=LISTED_AT_ONCE))
        while True:
            with _errors_told(self.place):
                page = await anext(pages, None)
            if page is None:
                return
            for meta in page:
                yield self._stored(meta)

    async def find(self, name: str) -> StoredObject | None:
        """As in `Objects`; raises `StoreRefused` too."""
        import obstore

        with suppress(ObjectMissing), _errors_told(self.place):
            return self._stored(await obstore.head_async(self._store, self._named(name)))
        return None

    async def delete(self, name: str) -> None:
        """As in `Objects`; raises `StoreRefused` too."""
        await self._insist("DELETE", name)

    async def check(self) -> None:
        """As in `Objects`. What a process that was killed has left of it the next removes: it has the same name."""
        async with self.draft(CHECK_NAME) as write:
            write(memoryview(_CHECK_CONTENT))
        if b"".join([piece async for piece in self.read(CHECK_NAME, 0, len(_CHECK_CONTENT))]) != _CHECK_CONTENT:
            raise MediaStoreError("the object store gives other bytes than it was given")
        await self.delete(CHECK_NAME)

    async def close(self) -> None:
        """As in `Objects`."""
        await self._session.close()
        await asyncio.sleep(LETTING_GO_S)

    def _named(self, name: str) -> str:
        return f"{self.place.prefix}{name}"

    def _stored(self, meta: "ObjectMeta") -> StoredObject:
        return StoredObject(
            name=meta["path"].removeprefix(self.place.prefix),
            size_bytes=meta["size"],
            modified_ts=int(meta["last_modified"].timestamp() * 1000),
        )


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


@dataclass(frozen=True, slots=True)
class _Arriving:
    """An object on its way to the bucket. The digest is the one that stores check, MD5, and no secret."""

    file: IO[bytes]
    digest: "hashlib._Hash"

    @classmethod
    def begin(cls, folder: Path) -> "_Arriving":
        """In a file without a buffer: one that a full disk has not taken would be written once more at its end."""
        return cls(tempfile.TemporaryFile(dir=folder, buffering=0), hashlib.md5(usedforsecurity=False))

    def write(self, part: memoryview) -> None:
        """Add what has arrived."""
        self.digest.update(part)
        write_all(self.file, part)

    def headers(self) -> dict[str, str]:
        """What is said of it."""
        return {
            "Content-Length": str(self.file.seek(0, 2)),
            "Content-MD5": base64.b64encode(self.digest.digest()).decode(),
            "Content-Type": "application/octet-stream",
        }

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning."""
        self.file.seek(0)
        while piece := await in_thread(self.file.read, PIECE_BYTES):
            yield piece


def _code_in(answer: str) -> str:
    """The error code in an answer of the store, empty where it has none."""
    found = _CODE.search(answer)
    return found[1] if found else ""


def _refusal(place: BucketPlace, status: str, answer: str) -> StoreRefused:
    at, code = place.endpoint or f"Amazon, {place.region}", _code_in(answer)
    advice = _ADVICE.get(code, "look at the options of media_store.s3, and the store's log")
    if _TIMES_DIFFER.search(answer):
        advice = _SET_CLOCK
    return StoreRefused(f"the bucket {place.bucket} ({at}) answers {f'{status} {code}'.strip()}: {advice}")


@contextmanager
def _errors_told(place: BucketPlace) -> Iterator[None]:
    """Turn what obstore raises into MediaStoreErrors, `StoreRefused` where the store refuses."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    with errors_told((OSError, BaseError)):
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            answer = str(error)
            code = _code_in(answer)
            if code in _ADVICE or isinstance(error, PermissionDeniedError | UnauthenticatedError):
                raise _refusal(place, "" if code else type(error).__name__, answer) from None
            if code and not isinstance(error, FileNotFoundError):
                raise MediaStoreError(f"the object store does not give a file: {code}") from error
            raise
