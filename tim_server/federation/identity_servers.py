"""What identity servers are asked: which user has an address, to keep an invite of an address that nobody has yet, and
whether a key of theirs is still valid. What they answer is checked for its form here, and for nothing else.

Spec: https://spec.matrix.org/v1.19/identity-service-api/
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from tim_server.egress.client import OutgoingClient, OutgoingRequest
from tim_server.federation.errors import RemoteError
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient, encode_relaxed
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.matrix.third_party_addresses import ThirdPartyAddress
from tim_server.matrix.third_party_invites import keys_of_invite

API = "/_matrix/identity/v2"
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 128 * 1024
PEPPERS_TRIED_MAX = 3
PEPPER_CHARS_MAX = 1_000
PUBLIC_KEYS_MAX = 10
ED25519_KEY_BYTES = 32
VALIDITY_URL_CHARS_MAX = 1_000
DISPLAY_NAME_CHARS_MAX = 255
_TOKEN = re.compile(r"[0-9a-zA-Z.=_-]{1,255}")
_URL = re.compile(r"https://[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityAccount:
    """An identity server, and the token with which it knows a user of this server."""

    server_name: ServerName
    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInvite:
    """What an identity server has made of an invite: the state key and the content of `m.room.third_party_invite`."""

    token: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityClient:
    """Asks identity servers. Raises `RemoteError` for an answer that is an error or is not what was asked for, and what
    `egress` raises."""

    outgoing: OutgoingClient

    async def look_up(
        self, account: IdentityAccount, addresses: Sequence[ThirdPartyAddress]
    ) -> dict[ThirdPartyAddress, UserId]:
        """Whose the addresses are, of those that are somebody's. Another pepper is asked for where the server has
        changed it meanwhile: "being careful to avoid retry loops"."""
        for _ in range(PEPPERS_TRIED_MAX):
            pepper = await self._pepper(account)
            hashes = {address.hashed(pepper): address for address in addresses}
            body = {"algorithm": "sha256", "pepper": pepper, "addresses": [*hashes]}
            try:
                answer = await self._ask(account, "POST", f"{API}/lookup", body)
            except RemoteError as error:
                if error.errcode != "M_INVALID_PEPPER":
                    raise
                continue
            return _users_in(account.server_name, answer, hashes)
        raise RemoteError.malformed(account.server_name, "the pepper is never the right one")

    async def store_invite(
        self, account: IdentityAccount, address: ThirdPartyAddress, about: Mapping[str, str]
    ) -> StoredInvite:
        """Have the server keep an invite, and tell whoever has the address of it; `about` says who invites into what,
        by the operation's keys."""
        body = {**about, "medium": address.medium, "address": address.address}
        answer = await self._ask(account, "POST", f"{API}/store-invite", body)
        token, name, keys = answer.get("token"), answer.get("display_name"), _public_keys(answer)
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not keys:
            raise RemoteError.malformed(account.server_name, "the answer has no token, or no keys")
        # What the room would be told must not be the address itself.
        if not isinstance(name, str) or len(name) > DISPLAY_NAME_CHARS_MAX or address.address in name.casefold():
            raise RemoteError.malformed(account.server_name, "the answer has no name for the address")
        return StoredInvite(token=token, content={"display_name": name, **keys[0], "public_keys": keys})

    async def is_key_valid(self, url: str, key: str) -> bool:
        """Whether the place that an invite names says that the key is valid; `url` is one that `host_of_url` knows."""
        separator = "&" if urlsplit(url).query else "?"
        server_name = ServerName(host_of_url(url) or "")
        answer = await self._send(server_name, "GET", f"{url}{separator}public_key={quote(key, safe='')}", {}, None)
        return answer.get("valid") is True

    async def _pepper(self, account: IdentityAccount) -> str:
        answer = await self._ask(account, "GET", f"{API}/hash_details")
        pepper, algorithms = answer.get("lookup_pepper"), answer.get("algorithms")
        if not isinstance(algorithms, list) or "sha256" not in algorithms:
            raise RemoteError.malformed(account.server_name, "the answer does not offer sha256")
        if not isinstance(pepper, str) or len(pepper) > PEPPER_CHARS_MAX:
            raise RemoteError.malformed(account.server_name, "the answer has no pepper")
        return pepper

    async def _ask(
        self, account: IdentityAccount, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        url = f"https://{account.server_name}{path}"
        headers = {"Authorization": f"Bearer {account.access_token}"}
        return await self._send(account.server_name, method, url, headers, body)

    async def _send(
        self,
        server_name: ServerName,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        request = OutgoingRequest(
            method=method,
            url=url,
            server_name=server_name,
            headers=headers if body is None else {**headers, "Content-Type": "application/json"},
            body=None if body is None else encode_relaxed(body),
            timeout_seconds=TIMEOUT_S,
            response_size_bytes_max=ANSWER_BYTES_MAX,
        )
        response = await self.outgoing.send(request)
        try:
            answer = decode_lenient(response.body)
        except CanonicalJsonError:
            answer = None
        if response.status != 200:
            raise RemoteError.of(server_name, response.status, answer, response.headers.get("Retry-After"))
        if not isinstance(answer, dict):
            raise RemoteError.malformed(server_name, "the answer is not a JSON object")
        return answer


def host_of_url(url: Any) -> ServerName | None:
    """Host and port of a place that says whether a key is valid; None for what is no such place."""
    if not isinstance(url, str) or len(url) > VALIDITY_URL_CHARS_MAX or not _URL.fullmatch(url) or "#" in url:
        return None
    try:
        return ServerName.parse(urlsplit(url).netloc)
    except (InvalidIdentifier, ValueError):
        return None


def _users_in(
    server_name: ServerName, answer: Mapping[str, Any], hashes: Mapping[str, ThirdPartyAddress]
) -> dict[ThirdPartyAddress, UserId]:
    mappings = answer.get("mappings")
    if not isinstance(mappings, dict):
        raise RemoteError.malformed(server_name, "the answer has no mappings")
    try:
        return {hashes[hashed]: UserId.parse(user_id) for hashed, user_id in mappings.items() if hashed in hashes}
    except (InvalidIdentifier, AttributeError, TypeError):
        raise RemoteError.malformed(server_name, "an address is said to be that of no user") from None


def _public_keys(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """The keys of an answer, in their order; empty where one of them is none, or nothing vouches for it."""
    listed = answer.get("public_keys")
    if not isinstance(listed, list) or len(listed) > PUBLIC_KEYS_MAX:
        return []
    keys = [*keys_of_invite({"public_keys": listed})]
    if len(keys) != len(listed) or any(len(key.key) != ED25519_KEY_BYTES for key in keys):
        return []
    if any(host_of_url(key.validity_url) is None for key in keys):
        return []
    return [{"public_key": key.text, "key_validity_url": key.validity_url} for key in keys]
