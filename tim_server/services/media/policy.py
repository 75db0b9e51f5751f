"""Bounds of files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPolicy:
    """Bounds of uploads, of copies of other servers' files, of files that are announced, and of images that are made
    smaller; None means without limit. `unauthenticated_downloads` says whether the deprecated endpoints serve files to
    anybody."""

    upload_bytes_max: int
    upload_timeout_s: float
    quota_bytes_per_user: int | None
    remote_bytes_max: int
    remote_timeout_s: float
    remote_lifetime_s: float | None
    announced_per_user_max: int
    announced_lifetime_s: float
    thumbnail_source_bytes_max: int
    thumbnail_pixels_max: int
    thumbnail_timeout_s: int
    unauthenticated_downloads: bool = False
    quota_bytes: int | None = None
    local_lifetime_s: float | None = None
    remote_kept_bytes_max: int | None = None
