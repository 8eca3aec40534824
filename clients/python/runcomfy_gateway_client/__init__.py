"""Client of runcomfy-gateway: run RunComfy's models without paying twice.

    from runcomfy_gateway_client import Client

    with Client() as client:  # GATEWAY_URL and GATEWAY_API_KEY
        result = client.run("kling/kling-3.0/standard/image-to-video", {"prompt": "…"})
        print(result.output, result.cost)

`AsyncClient` has the same methods as coroutines.
"""

from runcomfy_gateway_client.clients import AsyncClient, Client
from runcomfy_gateway_client.documents import Batch, BatchItem, Event, Result, Status
from runcomfy_gateway_client.errors import (
    GatewayError,
    RequestEndedWithoutOutput,
    WaitTimeout,
)
from runcomfy_gateway_client.options import SubmitOptions
from runcomfy_gateway_client.requests import AsyncRequest, Request

__all__ = [
    "AsyncClient",
    "AsyncRequest",
    "Batch",
    "BatchItem",
    "Client",
    "Event",
    "GatewayError",
    "Request",
    "RequestEndedWithoutOutput",
    "Result",
    "Status",
    "SubmitOptions",
    "WaitTimeout",
]
