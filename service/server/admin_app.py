"""The admin API on a listener of its own: the application, limited to the operators' paths."""

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import NotFound
from service.context import ADMIN_LISTENER, AppContext
from service.problems import MEDIA_TYPE, problem_of

_OPERATOR_PATHS = ("/admin/", "/console")


class AdminApp:
    """Passes calls of the admin API to the application, marked as its own listener's."""

    def __init__(self, app: ASGIApp, context: AppContext) -> None:
        """The lifespan of `app` has opened `context`."""
        self._app = app
        self._state = {"resources": context, ADMIN_LISTENER: True}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call; any other path is 404."""
        if scope["path"].startswith(_OPERATOR_PATHS):
            await self._app({**scope, "state": self._state}, receive, send)
            return
        problem = problem_of(NotFound())
        response = Response(problem.body, problem.status, problem.headers, MEDIA_TYPE)
        await response(scope, receive, send)
