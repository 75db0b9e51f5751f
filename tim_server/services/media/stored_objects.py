"""What lies in the media store, and what a check of it may find (`check.py`, `mend.py`)."""

import re
from dataclasses import dataclass
from enum import Enum

from tim_server.matrix.identifiers import ServerName
from tim_server.media_store.objects import Objects, StoredObject
from tim_server.storage.media_objects import ReferredObject

OBJECTS_PER_STEP = 500
_OURS = re.compile(r"[0-9a-f]{2}/[0-9a-f]+")


class Trouble(Enum):
    """What is wrong with a file, or an object."""

    MISSING = "missing"
    WRONG_SIZE = "wrong size"
    ALTERED = "altered"
    UNREADABLE = "unreadable"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of an object; `referred` is what has it."""

    trouble: Trouble
    object_name: str
    referred: ReferredObject | None = None


def kind_of(finding: Finding, server_name: ServerName) -> str:
    """What has the object: an upload, a copy of another server's file, the picture of a web page, or a thumbnail."""
    referred = finding.referred
    if referred is None:
        return "nothing"
    if referred.variant is not None:
        return "thumbnail"
    if referred.is_upload:
        return "upload"
    return "picture" if referred.server_name == server_name else "copy"


async def own_objects(objects: Objects, folder: str) -> tuple[dict[str, StoredObject], int]:
    """The objects in a folder by their names, and how many have names that the server gives to none. Raises a
    `MediaStoreError`."""
    found: dict[str, StoredObject] = {}
    strange = 0
    async for each in objects.list(folder):
        if not _OURS.fullmatch(each.name):
            strange += 1
        elif each.is_whole or each.name not in found:
            found[each.name] = each
    return found, strange


def is_young(stored: StoredObject, *, now_ms: int, young_ms: int) -> bool:
    """Whether an object is one that an upload may still be about."""
    return stored.modified_ts > now_ms - young_ms
