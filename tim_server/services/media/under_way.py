"""What is being uploaded just now, through this process: it takes room already, though it is no file yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tim_server.matrix.errors import LimitExceeded
from tim_server.matrix.identifiers import UserId

RETRY_AFTER_MS = 5_000


@dataclass(slots=True)
class Arriving:
    """So many files that are not there as a whole yet, and how much of them is there."""

    files: int = 0
    size_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class UploadsUnderWay:
    """Counts what arrives, of each user and of all."""

    per_user_max: int
    of_all: Arriving = field(default_factory=Arriving)
    _of_users: dict[UserId, Arriving] = field(default_factory=dict)

    @contextmanager
    def begin(self, user_id: UserId) -> "Iterator[UploadUnderWay]":
        """An upload of this user, until it ends; raises `LimitExceeded` where too many are under way."""
        of_user = self._of_users.setdefault(user_id, Arriving())
        if of_user.files >= self.per_user_max:
            raise LimitExceeded("Too many files are being uploaded at once", retry_after_ms=RETRY_AFTER_MS)
        upload = UploadUnderWay(of_user=of_user, of_all=self.of_all)
        of_user.files += 1
        try:
            yield upload
        finally:
            of_user.files -= 1
            upload.add(-upload.size_bytes)
            if not of_user.files:
                del self._of_users[user_id]


@dataclass(slots=True, kw_only=True)
class UploadUnderWay:
    """One upload: how much of it is there, what else the user uploads, with it, and what all do."""

    of_user: Arriving
    of_all: Arriving
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """So much more has arrived."""
        self.size_bytes += size_bytes
        self.of_user.size_bytes += size_bytes
        self.of_all.size_bytes += size_bytes
