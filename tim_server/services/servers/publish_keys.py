"""The keys that this server signs with, as it tells them to other servers.

Spec: https://spec.matrix.org/v1.19/server-server-api/#publishing-keys
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.events.build import Author
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import sign_json
from tim_server.matrix.server_keys import ServerKeys

VALIDITY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPublication:
    """Tells the server's keys. `old_keys` are those that it once signed with."""

    author: Author
    old_keys: ServerKeys = field(default_factory=dict)
    now_ms: Callable[[], int]

    def document(self) -> dict[str, Any]:
        """The signed object: keys in use, and until when others may rely on them."""
        key = self.author.key
        return sign_json(
            {
                "server_name": self.author.server_name,
                "verify_keys": {key.key_id: {"key": unpadded_base64(key.verify_key)}},
                "old_verify_keys": {
                    key_id: {"key": unpadded_base64(old.verify_key), "expired_ts": old.valid_until_ts}
                    for key_id, old in self.old_keys.items()
                },
                "valid_until_ts": self.now_ms() + VALIDITY_MS,
            },
            self.author.server_name,
            key,
        )
