"""How much memory the bodies of requests take while they arrive and are worked on: bounded for the whole process, and
for each address that they come from.

Before its signature is verified, a request of another server has been read, decoded and encoded; anybody can send one.
JSON of tiny objects takes many times its size once it is decoded, which is counted before.
"""

from collections import Counter
from dataclasses import dataclass, field

from tim_server.matrix.decoded_size import decoded_bytes
from tim_server.matrix.errors import LimitExceeded, TooLarge

FREE_BYTES = 65_536
"""What each request may take without being counted: who sends little is not held up by who sends much."""


@dataclass(slots=True, kw_only=True)
class BodyMemory:
    """What the bodies of all requests may take, half of it those from one address."""

    bytes_max: int = 512 * 2**20
    _taken_bytes: int = 0
    _of_address: Counter[str] = field(default_factory=Counter)

    def share(self, address: str) -> "BodyShare":
        """The share of one request; to be given back."""
        return BodyShare(memory=self, address=address)


@dataclass(slots=True, kw_only=True)
class BodyShare:
    """What one request takes."""

    memory: BodyMemory
    address: str
    _wanted_bytes: int = 0
    _counted_bytes: int = 0

    def take(self, count_bytes: int) -> None:
        """Take more; raises `TooLarge` where nobody may have so much, and `LimitExceeded` where too little is left."""
        memory, wanted_bytes = self.memory, self._wanted_bytes + count_bytes
        more = max(wanted_bytes - FREE_BYTES, 0) - self._counted_bytes
        if self._counted_bytes + more > memory.bytes_max // 2:
            raise TooLarge()
        is_too_much = memory._of_address[self.address] + more > memory.bytes_max // 2
        if more and (is_too_much or memory._taken_bytes + more > memory.bytes_max):
            raise LimitExceeded("Too many large requests at once", retry_after_ms=1000)
        self._wanted_bytes = wanted_bytes
        self._count(more)

    def take_json(self, data: bytes) -> None:
        """Take what the decoded form of JSON that has arrived takes beyond its size; raises as `take` does."""
        self.take(decoded_bytes(data))

    def give_back(self) -> None:
        """The request is answered."""
        self._count(-self._counted_bytes)

    def _count(self, more: int) -> None:
        if more:
            memory = self.memory
            self._counted_bytes += more
            memory._taken_bytes += more
            memory._of_address[self.address] += more
            if not memory._of_address[self.address]:
                del memory._of_address[self.address]
