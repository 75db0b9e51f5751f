"""Somebody who joins rooms of others, and what does it for her."""

import pytest

from tests.conftest import Neighbourhood
from tests.people import Person
from tim_server.services.rooms.remote.join import RemoteJoin


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person(displayname="Alice")


@pytest.fixture
def remote(neighbourhood: Neighbourhood) -> RemoteJoin:
    """What joins rooms, inside the hospital."""
    return neighbourhood.a.process.homeservers[0].homeserver.room_join.remote
