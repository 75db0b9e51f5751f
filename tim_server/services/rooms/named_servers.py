"""Which other servers an event brings into a room when it is sent: those that the trust gate must be asked about.

Who is mentioned, kicked, banned or given power is not brought in by that.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tim_server.matrix.identifiers import InvalidIdentifier, ServerName
from tim_server.services.rooms.draft import Draft


def servers_named(drafts: Iterable[Draft]) -> set[ServerName]:
    """The servers that these drafts name; of names that are none, nothing."""
    named: set[ServerName] = set()
    for draft in drafts:
        find = _FINDERS.get(draft.type)
        if find is not None and draft.state_key is not None:
            for name in find(draft.state_key, draft.content):
                try:
                    named.add(ServerName.parse(name))
                except InvalidIdentifier:
                    continue
    return named


def _invited(state_key: str, content: Mapping[str, Any]) -> Iterable[str]:
    """The server of a user who is invited."""
    return [state_key.partition(":")[2]] if content.get("membership") == "invite" else []


def _creators(_state_key: str, content: Mapping[str, Any]) -> Iterable[str]:
    """The servers of users who are made creators of a room beside its sender."""
    creators = content.get("additional_creators")
    listed = creators if isinstance(creators, list) else []
    return [user_id.partition(":")[2] for user_id in listed if isinstance(user_id, str)]


def _identity_servers(_state_key: str, content: Mapping[str, Any]) -> Iterable[str]:
    """The servers that would vouch for somebody who is invited by an address."""
    keys = content.get("public_keys")
    places = [content, *(keys if isinstance(keys, list) else [])]
    urls = [place.get("key_validity_url") for place in places if isinstance(place, dict)]
    return [_host_of(url) for url in urls if isinstance(url, str)]


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


_FINDERS: Mapping[str, Callable[[str, Mapping[str, Any]], Iterable[str]]] = {
    "m.room.member": _invited,
    "m.room.create": _creators,
    "m.room.third_party_invite": _identity_servers,
}
