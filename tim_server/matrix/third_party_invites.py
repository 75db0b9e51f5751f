"""The `m.room.third_party_invite` event: with which keys an identity server may prove who was invited by an address.

Spec: https://spec.matrix.org/v1.19/client-server-api/#mroomthird_party_invite
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.signatures import decode_base64, verify_json

SIGNATURE_ATTEMPTS_MAX = 64
"""Pairs of signature and key that are tried; real invites have one signature and up to three keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteKey:
    """A key of the invite, as it is written there and as bytes, and what stands there as the place that says whether it
    is still valid; None where nothing does, so that it is for ever."""

    text: str
    key: bytes
    validity_url: Any


def keys_of_invite(content: Mapping[str, Any]) -> Iterator[InviteKey]:
    """ "A single public key in the public_key property. A list of public keys in the public_keys property." """
    listed = content.get("public_keys")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    for entry in (content, *entries):
        text = entry.get("public_key")
        if isinstance(text, str):
            try:
                key = decode_base64(text.replace("-", "+").replace("_", "/"))
            except ValueError:
                continue
            yield InviteKey(text=text, key=key, validity_url=entry.get("key_validity_url"))


def key_that_signed(signed: dict[str, Any], content: Mapping[str, Any]) -> InviteKey | None:
    """The first of the invite's keys with which a signature verifies; None where none does."""
    attempts = product(_signatures_in(signed), list(keys_of_invite(content)))
    for (entity, key_id), key in islice(attempts, SIGNATURE_ATTEMPTS_MAX):
        try:
            verify_json(signed, entity, key_id, key.key)
        except BadSignature:
            continue
        return key
    return None


def _signatures_in(signed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Who has signed, and with which key."""
    signatures = signed.get("signatures")
    for entity, by_key in signatures.items() if isinstance(signatures, dict) else ():
        for key_id in by_key if isinstance(by_key, dict) else ():
            yield entity, key_id
