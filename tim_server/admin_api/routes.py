"""All routes of the administration APIs, listed explicitly."""

from tim_server.admin_api import (
    destinations,
    event_reports,
    media,
    media_deletion,
    media_for_tools,
    registration,
    reports,
    room_deletion,
    rooms_for_tools,
    trust,
)
from tim_server.web.route import Route

ROUTES: tuple[Route, ...] = (
    *destinations.ROUTES,
    *event_reports.ROUTES,
    *media.ROUTES,
    *media_deletion.ROUTES,
    *media_for_tools.ROUTES,
    *registration.ROUTES,
    *reports.ROUTES,
    *room_deletion.ROUTES,
    *rooms_for_tools.ROUTES,
    *trust.ROUTES,
)
