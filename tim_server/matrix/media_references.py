"""Which files a content refers to: every `mxc://` URI in it, wherever it stands. Pure.

Spec: https://spec.matrix.org/v1.19/client-server-api/#matrix-content-mxc-uris
"""

import re
from typing import TypeAlias

_URI = re.compile(rb'mxc:(?:\\?/){2}([^/"\\\s]{1,255})\\?/([0-9A-Za-z_-]{1,255})')

MediaName: TypeAlias = tuple[str, str]
"""Server name and media id, as they are written."""


def media_named_in(content: bytes) -> set[MediaName]:
    """The files that JSON names, whether it means it or not. Slashes may be escaped; so
    that nothing is missed, no more is asked of a name than to look like one."""
    return {(name.decode(errors="replace"), media_id.decode()) for name, media_id in _URI.findall(content)}
