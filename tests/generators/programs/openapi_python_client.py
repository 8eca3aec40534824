"""Runs a job with the client that openapi-python-client made."""

import os
import uuid

from generated import AuthenticatedClient
from generated.api.requests import result, submit
from generated.models import DryRun, EndedRequest, ModelInput, Status

MODEL = "kling/kling-3.0/standard/image-to-video"
INPUT = ModelInput.from_dict({"prompt": "a cliff", "start_image_url": "https://example.com/a.png"})


def key() -> str:
    return str(uuid.uuid4())


client = AuthenticatedClient(
    base_url=os.environ["GATEWAY_URL"],
    token=os.environ["GATEWAY_API_KEY"],
    raise_on_unexpected_status=True,
)
dry = submit.sync(MODEL, client=client, body=INPUT, dry_run=True)
assert isinstance(dry, DryRun), dry
submitted = submit.sync(MODEL, client=client, body=INPUT, idempotency_key=key())
assert isinstance(submitted, Status), submitted
waited = submit.sync(MODEL, client=client, body=INPUT, idempotency_key=key(), prefer="wait=50")
assert isinstance(waited, EndedRequest), waited
ended = result.sync(submitted.request_id, client=client, prefer="wait=50")
print(ended.gateway_status, ended.output)
