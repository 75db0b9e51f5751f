"""All routes of the administration APIs, listed explicitly."""

from tim_server.admin_api import destinations, event_reports, media, media_quarantine, registration, reports, trust
from tim_server.web.route import Route

ROUTES: tuple[Route, ...] = (
    *destinations.ROUTES,
    *event_reports.ROUTES,
    *media.ROUTES,
    *media_quarantine.ROUTES,
    *registration.ROUTES,
    *reports.ROUTES,
    *trust.ROUTES,
)
