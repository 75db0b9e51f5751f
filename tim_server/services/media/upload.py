"""Take what users upload.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tim_server.matrix.content_disposition import clean_content_type, clean_file_name
from tim_server.matrix.errors import Unavailable, UserSuspended
from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.matrix.media_errors import UploadTooSlow
from tim_server.services.accounts.requester import Requester
from tim_server.services.media.keep import ArrivingMedium, MediaKeeping
from tim_server.services.media.policy import MediaPolicy

_MEDIA_ID_BYTES = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUpload:
    """Stores uploads."""

    server_name: ServerName
    keeping: MediaKeeping
    policy: MediaPolicy

    async def upload(
        self, requester: Requester, pieces: AsyncIterator[bytes], *, content_type: str | None, file_name: str | None
    ) -> str:
        """Store a file; the `mxc://` URI that it has from now on. Raises `UserSuspended`, `UploadTooSlow`, what `keep`
        raises, and what `pieces` raise, which bound the size."""
        if requester.is_suspended:
            raise UserSuspended()
        arriving = ArrivingMedium(
            server_name=self.server_name,
            media_id=MediaId(secrets.token_urlsafe(_MEDIA_ID_BYTES)),
            user_id=requester.user_id,
            content_type=clean_content_type(content_type),
            file_name=clean_file_name(file_name),
            pieces=pieces,
        )
        try:
            medium = await self.keeping.keep(arriving, timeout_s=self.policy.upload_timeout_s)
        except TimeoutError:
            raise UploadTooSlow() from None
        if medium is None:
            raise Unavailable()
        return f"mxc://{medium.server_name}/{medium.media_id}"
