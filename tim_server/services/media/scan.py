"""Scan files for malware, before anybody is given a byte of them.

A file is scanned once it is stored as a whole and before it is made known, so that who uploads slowly keeps no scanner
waiting. What is encrypted end to end is opaque: clients name its content type `application/octet-stream`.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from tim_server.matrix.content_disposition import UNKNOWN_TYPE
from tim_server.matrix.media_errors import MalwareFound, ScanImpossible, ScanUnavailable
from tim_server.media_store.clamd import Clamd, ScannerAway, ScanRefused
from tim_server.media_store.errors import MediaStoreError
from tim_server.media_store.files import FileToRead, MediaFiles
from tim_server.services.fair_turns import OwnTurns

_log = structlog.get_logger("media")


class ScanOutcome(StrEnum):
    """What came of scanning a file."""

    CLEAN = "clean"
    MALWARE = "malware"
    IMPOSSIBLE = "impossible"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPolicy:
    """Which files are scanned, and in which time. `is_required` says whether a file is refused that
    can't be scanned."""

    uploads: bool
    remote: bool
    encrypted: bool
    is_required: bool
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaScan:
    """Scans files, as many at once as there are `turns`, and fewer of each sender. `counts` are the outcomes until
    now."""

    scanner: Clamd
    files: MediaFiles
    policy: ScanPolicy
    turns: asyncio.Semaphore
    turns_of_senders: OwnTurns
    counts: "Counter[ScanOutcome]" = field(default_factory=Counter)

    def concerns(self, content_type: str, *, is_remote: bool) -> bool:
        """Whether a file of this type is to be scanned."""
        if not (self.policy.remote if is_remote else self.policy.uploads):
            return False
        return self.policy.encrypted or content_type.partition(";")[0].strip().lower() != UNKNOWN_TYPE

    async def require_clean(self, file: FileToRead, *, sender: str) -> None:
        """Have a file scanned that a user or a server has sent. Raises `MalwareFound`, and where files must be scanned
        `ScanImpossible` and `ScanUnavailable`."""
        try:
            async with asyncio.timeout(self.policy.timeout_s), self.turns_of_senders.of(sender), self.turns:
                malware = await self.scanner.scan(self.files.read(file, first=0, last=file.size_bytes - 1))
        except ScanRefused as error:
            self._give_up(ScanOutcome.IMPOSSIBLE, file, str(error))
        except (ScannerAway, MediaStoreError) as error:
            self._give_up(ScanOutcome.UNAVAILABLE, file, str(error))
        except TimeoutError:
            self._give_up(ScanOutcome.UNAVAILABLE, file, "it takes too long")
        else:
            self._count(file, malware)

    def _count(self, file: FileToRead, malware: str | None) -> None:
        if malware is None:
            self.counts[ScanOutcome.CLEAN] += 1
            return
        self.counts[ScanOutcome.MALWARE] += 1
        _log.warning("a file is refused: malware", file=file.identity, malware=malware)
        raise MalwareFound()

    def _give_up(self, outcome: ScanOutcome, file: FileToRead, reason: str) -> None:
        self.counts[outcome] += 1
        _log.error("a file can't be scanned", file=file.identity, reason=reason, refused=self.policy.is_required)
        if self.policy.is_required:
            raise ScanImpossible() if outcome is ScanOutcome.IMPOSSIBLE else ScanUnavailable()
