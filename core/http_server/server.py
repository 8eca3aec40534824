"""A uvicorn server whose connections are limited, and its configuration."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from core.http_server.connections import CHECK_PARTS, Connections
from core.http_server.protocol import BoundedHttpProtocol


def build_config(
    app: Callable[..., Any],
    connections: Connections,
    **options: Any,  # noqa: ANN401 - uvicorn's
) -> uvicorn.Config:
    """Return uvicorn's configuration with what every listener of the gateway has in common."""
    return uvicorn.Config(
        app,
        http=partial(BoundedHttpProtocol, connections),  # type: ignore[arg-type]  # called, never inspected
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        **options,
    )


class LimitedServer(uvicorn.Server):
    """Closes overdue connections: checks each once a second, as uvicorn ticks ten times in one."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        """`config` is of `build_config` with the same `connections`."""
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """Check the deadlines, in addition to what uvicorn does."""
        now = asyncio.get_running_loop().time()
        self._connections.close_overdue(now, counter % CHECK_PARTS)
        return await super().on_tick(counter)
