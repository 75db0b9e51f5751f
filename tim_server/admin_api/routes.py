"""All routes of the administration APIs, listed explicitly."""

from tim_server.admin_api import registration
from tim_server.web.route import Route

ROUTES: tuple[Route, ...] = (*registration.ROUTES,)
