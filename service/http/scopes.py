"""The scope of an API key that each operation of tenants needs, for the API's descriptions.

The operations themselves ask the store for the scope; a test calls each with each.
"""

from collections.abc import Mapping
from typing import Final

from core.tenants.api_keys import Scope

SCOPE_OF_OPERATION: Final[Mapping[str, Scope | None]] = {
    "submit": Scope.SUBMIT,
    "submit_batch": Scope.SUBMIT,
    "status": Scope.READ,
    "result": Scope.READ,
    "detail": Scope.READ,
    "get_output": Scope.READ,
    "events": Scope.READ,
    "list_requests": Scope.READ,
    "request_deliveries": Scope.READ,
    "list_batches": Scope.READ,
    "batch": Scope.READ,
    "list_models": Scope.READ,
    "list_categories": Scope.READ,
    "show_model": Scope.READ,
    "usage": Scope.READ,
    "balance": Scope.READ,
    "list_deliveries": Scope.READ,
    "list_endpoints": Scope.READ,
    "show_endpoint": Scope.READ,
    "upload_file": Scope.SUBMIT,
    "delete_file": Scope.SUBMIT,
    "list_files": Scope.READ,
    "get_file": Scope.READ,
    "get_file_content": Scope.READ,
    "cancel": Scope.CANCEL,
    "delete_request": Scope.CANCEL,
    "cancel_batch": Scope.CANCEL,
    "resend_delivery": Scope.WEBHOOKS,
    "replay_deliveries": Scope.WEBHOOKS,
    "test_webhook": Scope.WEBHOOKS,
    "create_endpoint": Scope.WEBHOOKS,
    "change_endpoint": Scope.WEBHOOKS,
    "delete_endpoint": Scope.WEBHOOKS,
    "rotate_secret": Scope.WEBHOOKS,
    "webhook_keys": None,
    "healthz": None,
    "readyz": None,
    "docs": None,
    "guide": None,
    "start_script": None,
    "openapi": None,
}
"""By the name of the route. None: no key is needed."""
