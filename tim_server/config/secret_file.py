"""Files with secrets of the server, made at its first start."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_once(path: Path, text: str) -> bool:
    """Write a file that its owner only can read, unless there is one; whether it was written. Of processes that start
    together, one makes it. It has reached the disk when this returns. Raises OSError."""
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with _draft(path, text) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:  # another process was faster; what it has written counts
            return False
    _sync(path.parent)
    return True


def replace(path: Path, text: str) -> None:
    """Write such a file in the place of another, which is there as long as the new one is not. Raises OSError."""
    with _draft(path, text) as draft:
        draft.rename(path)
    _sync(path.parent)


@contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """The file under a name of its own, until it has another."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
