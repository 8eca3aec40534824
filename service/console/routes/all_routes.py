"""All routes of the console, in their order. Imported only where the console is on."""

from typing import Final

from service.console.routes import (
    live,
    operator,
    operator_tenants,
    operator_usage,
    playground,
    sign_in,
    tenant,
)

ROUTERS: Final = (
    sign_in.router,
    tenant.router,
    operator.router,
    operator_tenants.router,
    operator_usage.router,
    playground.router,
    live.router,
    sign_in.catch_all,
)
