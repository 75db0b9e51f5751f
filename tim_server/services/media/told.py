"""Files that can't be read, as those who want them are told."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from tim_server.matrix.errors import InternalError, Unavailable
from tim_server.media_store.errors import FileAltered, MediaStoreError, ObjectMissing

_log = structlog.get_logger("media")


@contextmanager
def unreadable_told(object_name: str) -> Iterator[None]:
    """Turn a `MediaStoreError` into `Unavailable`, or `InternalError` where trying again is in vain."""
    try:
        yield
    except (FileAltered, ObjectMissing) as error:
        _log.error("a file is lost or altered", object=object_name, error=str(error))
        raise InternalError("The file can't be read") from error
    except MediaStoreError as error:
        _log.error("a file can't be read now", object=object_name, error=str(error))
        raise Unavailable("The file can't be read now; try again") from error
