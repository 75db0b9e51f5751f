"""What tests of services share."""

import pytest

from tests.account_services import AccountServices
from tim_server.storage.store import Store


@pytest.fixture
def account_services(store: Store) -> AccountServices:
    """The account half of a homeserver on a real store, with registration open."""
    return AccountServices(store)
