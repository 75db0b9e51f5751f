"""What is allowed of files, where a test minds one limit only."""

from typing import Any

from tim_server.services.media.policy import MediaPolicy, UserQuota


def policy_of(**limits: Any) -> MediaPolicy:
    """These limits, and the smallest ones besides."""
    smallest = {
        "upload_bytes_max": 1,
        "upload_timeout_s": 1,
        "user_quota": UserQuota(size_bytes=None, files=1),
        "remote_bytes_max": 1,
        "remote_timeout_s": 1,
        "remote_lifetime_s": None,
        "announced_per_user_max": 1,
        "announced_lifetime_s": 1,
        "thumbnail_source_bytes_max": 1,
        "thumbnail_pixels_max": 1,
        "thumbnail_timeout_s": 1,
    }
    return MediaPolicy(**{**smallest, **limits})
