"""Files that people upload and download in tests."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDictProxy

from tests.people import Person

UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD = "/_matrix/client/v1/media/download"
MIB = 2**20


@dataclass
class Download:
    """What came."""

    status: int
    headers: "CIMultiDictProxy[str]"
    body: bytes


async def upload(
    person: Person,
    content: Any,
    *,
    content_type: str | None = "application/octet-stream",
    place: str | None = None,
    size_bytes: int | None = None,
    **query: str,
) -> tuple[int, Any]:
    """Status and JSON of an upload; `content` may be chunks, whose size `size_bytes` tells. `place` is the server name
    and media id of a file that was announced."""
    headers = {"Authorization": f"Bearer {person.token}"}
    if size_bytes is not None:
        headers["Content-Length"] = str(size_bytes)
    if content_type is not None:
        headers["Content-Type"] = content_type
    method, path = ("POST", UPLOAD) if place is None else ("PUT", f"{UPLOAD}/{place}")
    async with person.session.request(method, path, data=content, headers=headers, params=query) as response:
        return response.status, await response.json()


async def uploaded(person: Person, content: Any, **options: Any) -> str:
    """Upload, which must succeed; the file's server name and media id, as in paths."""
    status, answer = await upload(person, content, **options)
    assert status == 200, answer
    assert answer.keys() == {"content_uri"}
    return str(answer["content_uri"]).removeprefix("mxc://")


async def announced(person: Person) -> str:
    """The server name and media id of a file that is to come."""
    answer = await person.expect(200, "POST", "/_matrix/media/v1/create")
    return str(answer["content_uri"]).removeprefix("mxc://")


async def download(
    person: Person, file: str, *, place: str = DOWNLOAD, method: str = "GET", **headers: str
) -> Download:
    """Download a file (server name, media id, and perhaps a name)."""
    sent = {"Authorization": f"Bearer {person.token}", **{name.replace("_", "-"): v for name, v in headers.items()}}
    async with person.session.request(method, f"{place}/{file}", headers=sent) as response:
        return Download(response.status, response.headers, await response.read())


async def in_chunks(size_bytes: int, *, chunk_bytes: int = 100_000) -> AsyncIterator[bytes]:
    """So many bytes, which begin differently each time."""
    seed = secrets.token_bytes(32)
    while size_bytes:
        size = min(chunk_bytes, size_bytes)
        yield (seed * (size // len(seed) + 1))[:size]
        size_bytes -= size
