"""Users who were erased are known to each process, those that were started later included."""

from tests.account_services import PASSWORD, AccountServices
from tim_server.matrix.identifiers import UserId
from tim_server.services.events.erased_users import ErasedUsers
from tim_server.storage.store import Store


async def test_each_process_knows_who_was_erased(store: Store) -> None:
    services, follower, late = AccountServices(store), ErasedUsers(), ErasedUsers()
    store.commit_log.subscribe(follower.follow)
    async with store.database.read() as tx:
        await follower.load(tx)
    requester = await services.make_requester("anna")
    auth = {"type": "m.login.password", "user": "anna", "password": PASSWORD}
    await services.deactivation.deactivate(requester, auth, erase=True)
    async with store.database.read() as tx:
        await late.load(tx)
    assert follower.positions.keys() == {UserId("@anna:hospital.example")}
    assert late.positions == follower.positions
    late.clear()
    assert not late.positions
