"""Pseudonyms: the same identifier always has the same pseudonym, and without the key nobody can tell whose it is.

Operators who may know search the log with `tim-server`'s key; others see which lines belong together, and no more.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_USER_ID = re.compile(r"@[^\s:'\"]+:[A-Za-z0-9.\-\[\]:]*[A-Za-z0-9\]]")
_ADDRESS_KEYS = frozenset({"client_address"})
_CACHE_SIZE = 10_000
_DIGEST_BYTES = 9


class Pseudonymizer:
    """Replaces user ids and client addresses. `key` is a secret of the deployment."""

    __slots__ = ("_key", "pseudonym")

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the pseudonymisation key must have 16 bytes at least")
        self._key = key
        self.pseudonym = lru_cache(maxsize=_CACHE_SIZE)(self._compute)
        """The pseudonym of an identifier: `~` and 12 letters, digits, hyphens or underscores."""

    def _compute(self, identifier: str) -> str:
        digest = hmac.digest(self._key, identifier.encode(errors="surrogateescape"), hashlib.sha256)
        return "~" + _base64url(digest[:_DIGEST_BYTES])

    def replace_in(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`fields` with pseudonyms for user ids (anywhere in a text, or in a list) and for client addresses."""
        return {key: self._replace(key, value) for key, value in fields.items()}

    def _replace(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            if key in _ADDRESS_KEYS:
                return self.pseudonym(value) if value else value
            return _USER_ID.sub(lambda match: self.pseudonym(match[0]), value) if "@" in value else value
        if isinstance(value, list | tuple | set | frozenset):
            return [self._replace(key, item) for item in value]
        if isinstance(value, Mapping):
            return self.replace_in(value)
        return value


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
