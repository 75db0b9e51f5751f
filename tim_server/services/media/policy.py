"""Bounds of files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPolicy:
    """How large files may be, and how long they may take to arrive; how many files that are announced a user may owe,
    and for how long; of which images smaller ones are made. `unauthenticated_downloads` says whether the deprecated
    endpoints serve files to anybody."""

    upload_bytes_max: int
    upload_timeout_s: float
    remote_bytes_max: int
    remote_timeout_s: float
    announced_per_user_max: int
    announced_lifetime_s: float
    thumbnail_source_bytes_max: int
    thumbnail_pixels_max: int
    thumbnail_timeout_s: int
    unauthenticated_downloads: bool = False
