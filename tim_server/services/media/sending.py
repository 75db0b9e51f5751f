"""Files are sent in turns: whoever takes nothing of what they ask for holds memory, and holds it from few others.

async with AsyncExitStack() as turn:
    await turn.enter_async_context(turns.of(asked_by))
    pieces = await begin(files.read(file, first=0, last=99), turn.pop_all())
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from tim_server.services.fair_turns import OwnTurns

ASKED_PER_TURN_MAX = 10
"""How many files somebody may ask for at once, for each that they are sent at once."""


def sending_turns(at_once_max: int) -> OwnTurns:
    """Turns of each who asks: a user, a server or an address."""
    return OwnTurns(per_key_max=at_once_max, asked_max=ASKED_PER_TURN_MAX * at_once_max)


async def begin(pieces: AsyncGenerator[bytes], turn: AsyncExitStack) -> AsyncGenerator[bytes]:
    """The same pieces, of which the first is there; with them the turn ends. Raises what keeps the first from being
    there."""
    sent = _in_turn(pieces, turn)
    await anext(sent)
    return sent


async def _in_turn(pieces: AsyncGenerator[bytes], turn: AsyncExitStack) -> AsyncGenerator[bytes]:
    """Nothing once it has begun, then the pieces."""
    async with turn, aclosing(pieces):
        piece = await anext(pieces, b"")
        yield b""
        if piece:
            yield piece
        async for each in pieces:
            yield each
