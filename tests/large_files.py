"""Large files for tests: never whole in memory, which is watched."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.files import DOWNLOAD, MIB, in_chunks, uploaded
from tests.people import Person

HAS_PROC = Path("/proc/self/statm").exists()


def resident_mib() -> float:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB


async def upload_large(person: Person, size_bytes: int) -> tuple[str, bytes]:
    """A new file of this size, and its hash."""
    digest = hashlib.sha256()

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in in_chunks(size_bytes):
            digest.update(chunk)
            yield chunk

    return await uploaded(person, chunks(), size_bytes=size_bytes), digest.digest()


async def hash_of(person: Person, file: str) -> bytes:
    """The hash of a file that a person downloads."""
    digest = hashlib.sha256()
    headers = {"Authorization": f"Bearer {person.token}"}
    async with person.session.get(f"{DOWNLOAD}/{file}", headers=headers) as response:
        assert response.status == 200, await response.text()
        async for chunk in response.content.iter_any():
            digest.update(chunk)
    return digest.digest()
