"""Requesters by hash of their access token, in memory: most requests authenticate without SQL.

What revokes tokens of a user drops that user's entries: in this process at once, in others through the commit log.
"""

from collections import OrderedDict
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.storage.commit_log import CommitEntry

TOKENS = "tokens"
"""The commit log's stream for everything that changes what a user's tokens are worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedToken:
    """A requester as read at `loaded_ts`; `expires_ts` is None for tokens that live until logout."""

    requester: Requester
    expires_ts: int | None
    is_locked: bool
    loaded_ts: int


class TokenCache:
    """The entries used last, `entries_max` of them."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, CachedToken] = OrderedDict()
        self._hashes_of: dict[UserId, set[bytes]] = {}
        self.generation = 0
        """Changes with each drop: who reads the database remembers it, and puts nothing older into the cache."""

    def get(self, token_hash: bytes) -> CachedToken | None:
        """The entry, which counts as used."""
        found = self._entries.get(token_hash)
        if found is not None:
            self._entries.move_to_end(token_hash)
        return found

    def put(self, token_hash: bytes, entry: CachedToken, *, generation: int) -> None:
        """Keep an entry, unless something was dropped since `generation`."""
        if generation != self.generation:
            return
        self._entries[token_hash] = entry
        self._entries.move_to_end(token_hash)
        self._hashes_of.setdefault(entry.requester.user_id, set()).add(token_hash)
        if len(self._entries) > self._entries_max:
            self._remove(next(iter(self._entries)))

    def drop_user(self, user_id: UserId) -> None:
        """Forget all tokens of a user."""
        self.generation += 1
        for token_hash in tuple(self._hashes_of.get(user_id, ())):
            self._remove(token_hash)

    def drop_all(self) -> None:
        """Forget everything."""
        self.generation += 1
        self._entries.clear()
        self._hashes_of.clear()

    def on_commit(self, entry: CommitEntry) -> None:
        """Forget the users whose tokens a commit touched; subscribe this to the commit log."""
        for user_id, streams in entry.users.items():
            if TOKENS in streams:
                self.drop_user(user_id)

    def _remove(self, token_hash: bytes) -> None:
        user_id = self._entries.pop(token_hash).requester.user_id
        hashes = self._hashes_of[user_id]
        hashes.discard(token_hash)
        if not hashes:
            del self._hashes_of[user_id]
