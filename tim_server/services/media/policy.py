"""Bounds of files."""

from dataclasses import dataclass

from tim_server.storage.media import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQuota:
    """What one user may have uploaded in all; None means any size."""

    size_bytes: int | None
    files: int

    def has_room_beside(self, uploads: Uploads, size_bytes: int = 1) -> bool:
        """Whether a file of this size may come beside these."""
        is_small_enough = self.size_bytes is None or uploads.size_bytes + size_bytes <= self.size_bytes
        return is_small_enough and uploads.files < self.files


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPolicy:
    """Bounds of uploads, of copies of other servers' files, of files that are announced, and of images that are made
    smaller; None means without limit. `unauthenticated_downloads` says whether the deprecated endpoints serve files to
    anybody."""

    upload_bytes_max: int
    upload_timeout_s: float
    user_quota: UserQuota
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
    thumbnails_kept_bytes_max: int | None = None
