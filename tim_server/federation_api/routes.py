"""All routes of the Server-Server API, listed explicitly: one line per module, in alphabetical order."""

from tim_server.federation_api import (
    backfill,
    event_auth,
    events,
    invites_v1,
    invites_v2,
    joins_v1,
    joins_v2,
    keys_query,
    keys_server,
    openid,
    public_rooms,
    query,
    space_hierarchy,
    transactions,
    user_devices,
    user_keys,
    version,
    wellknown,
)
from tim_server.web.route import Route

ROUTES: tuple[Route, ...] = (
    *backfill.ROUTES,
    *event_auth.ROUTES,
    *events.ROUTES,
    *invites_v1.ROUTES,
    *invites_v2.ROUTES,
    *joins_v1.ROUTES,
    *joins_v2.ROUTES,
    *keys_query.ROUTES,
    *keys_server.ROUTES,
    *openid.ROUTES,
    *public_rooms.ROUTES,
    *query.ROUTES,
    *space_hierarchy.ROUTES,
    *transactions.ROUTES,
    *user_devices.ROUTES,
    *user_keys.ROUTES,
    *version.ROUTES,
    *wellknown.ROUTES,
)
