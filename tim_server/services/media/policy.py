"""Bounds of files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPolicy:
    """How large files may be, and how long they may take to arrive. `unauthenticated_downloads` says whether the
    deprecated endpoints serve them to anybody."""

    upload_bytes_max: int
    upload_timeout_s: float
    remote_bytes_max: int
    remote_timeout_s: float
    unauthenticated_downloads: bool = False
