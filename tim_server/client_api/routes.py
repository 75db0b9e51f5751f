"""All routes of the Client-Server API, listed explicitly: one line per module, in alphabetical order."""

from tim_server.client_api import (
    account_data,
    account_deactivation,
    capabilities,
    filter,
    login,
    logout,
    password_management,
    profile,
    refresh,
    registration,
    registration_tokens,
    support,
    sync,
    versions,
    wellknown,
    whoami,
)
from tim_server.web.route import Route

ROUTES: tuple[Route, ...] = (
    *account_data.ROUTES,
    *account_deactivation.ROUTES,
    *capabilities.ROUTES,
    *filter.ROUTES,
    *login.ROUTES,
    *logout.ROUTES,
    *password_management.ROUTES,
    *profile.ROUTES,
    *refresh.ROUTES,
    *registration.ROUTES,
    *registration_tokens.ROUTES,
    *support.ROUTES,
    *sync.ROUTES,
    *versions.ROUTES,
    *wellknown.ROUTES,
    *whoami.ROUTES,
)
