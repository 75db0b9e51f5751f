"""What an authority shows to others: its public files as they are now, with what tells one state from another."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.sign import read_published
from tim_server.trust.publication import DIRECTORY_PATH, MEDIA_TYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file and its entity tag, quoted; `version` is the directory's."""

    content: bytes
    media_type: str
    etag: str
    version: int | None = None


Publication = Mapping[str, PublishedFile]
"""By path."""


def read_publication(folder: AuthorityFolder) -> Publication:
    """What is published now. Raises `AuthorityFailed`."""
    found: dict[str, PublishedFile] = {}
    for path, media_type in MEDIA_TYPES.items():
        file = folder.public_file(path)
        if not file.exists():
            continue
        content = folder.read(file)
        directory = read_published(folder) if path == DIRECTORY_PATH else None
        found[path] = PublishedFile(
            content=content,
            media_type=media_type,
            etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            version=None if directory is None else directory.version,
        )
    return found
