"""What takes in the short-lived data (EDUs) of other servers."""

from typing import Any

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts, now_ms
from tim_server.background.supervise import Loop
from tim_server.services.keys.receive import DeviceListReceiver
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.receive import PresenceReceiver
from tim_server.services.receipts.receive import ReceiptReceiver
from tim_server.services.to_device.queue import ToDevicePolicy
from tim_server.services.to_device.receive import ToDeviceReceiver
from tim_server.services.transactions.admit_members import Admission
from tim_server.services.transactions.edus import DIRECT_TO_DEVICE
from tim_server.services.transactions.receive_edus import EduReceiver
from tim_server.services.typing.receive import TypingReceiver
from tim_server.services.typing.set_typing import Typing

PRESENCE_INTERVAL_S = 60.0


def edu_receiving(parts: Parts, typing: Typing, audience: PresenceAudience) -> Services:
    """Build it over the services that keep what it takes in; its field is `edu_receiver`."""
    store, limits = parts.store, parts.settings.limits
    admission = Admission(database=store.database, parsed=parts.parsed)
    common: dict[str, Any] = {"database": store.database, "writer": store.writer}
    receipts = ReceiptReceiver(admission=admission, **common)
    store.commit_log.subscribe(receipts.follow)
    presence = PresenceReceiver(audience=audience, now_ms=now_ms, **common)
    device_lists = DeviceListReceiver(writer=store.writer)
    to_device = ToDeviceReceiver(
        server_name=parts.author.server_name,
        writer=store.writer,
        codec=store.codec,
        policy=ToDevicePolicy(per_device_max=limits.to_device_messages_per_device_max),
    )
    receiver = EduReceiver(
        receivers={
            "m.typing": TypingReceiver(typing=typing, admission=admission).receive,
            "m.receipt": receipts.receive,
            "m.presence": presence.receive,
            DIRECT_TO_DEVICE: to_device.receive,
            "m.device_list_update": device_lists.receive,
            "m.signing_key_update": device_lists.receive,
        }
    )
    return Services(
        fields={"edu_receiver": receiver},
        closers=(receipts.close,),
        loops=(Loop(name="end presence of silent servers", interval_s=PRESENCE_INTERVAL_S, work=presence.look_after),),
    )
