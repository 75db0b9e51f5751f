"""Copies of a data folder of PostgreSQL at rest."""

import shutil
from pathlib import Path


def copy_data(source: Path, target: Path) -> None:
    """Put a copy of `source`, owners and modes kept, in the place of `target`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for path in (source, *source.rglob("*")):
        status = path.stat()
        shutil.chown(target / path.relative_to(source), status.st_uid, status.st_gid)
