"""Runs a job with the Python client that openapi-generator made."""

import os
import uuid

import rcgw

MODEL = "kling/kling-3.0/standard/image-to-video"
INPUT = {"prompt": "a cliff", "start_image_url": "https://example.com/a.png"}


def key() -> str:
    return str(uuid.uuid4())


settings = rcgw.Configuration(
    host=os.environ["GATEWAY_URL"], access_token=os.environ["GATEWAY_API_KEY"]
)
api = rcgw.RequestsApi(rcgw.ApiClient(settings))
dry = api.submit(MODEL, INPUT, dry_run=True).actual_instance
assert isinstance(dry, rcgw.DryRun), dry
submitted = api.submit(MODEL, INPUT, idempotency_key=key()).actual_instance
assert isinstance(submitted, rcgw.Status), submitted
waited = api.submit(MODEL, INPUT, idempotency_key=key(), prefer="wait=50").actual_instance
assert isinstance(waited, rcgw.EndedRequest), waited
ended = api.result(submitted.request_id, prefer="wait=50")
print(ended.gateway_status.value, ended.output)
