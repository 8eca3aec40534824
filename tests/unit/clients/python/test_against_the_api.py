"""The client against the API itself, over in-memory stores."""

from collections.abc import AsyncIterator

import pytest
from runcomfy_gateway_client import AsyncClient, errors

from tests.support.app import KLING, KLING_INPUT, open_app


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    """The client of a new tenant."""
    app = open_app()
    async with app.client(await app.tenant()) as http, AsyncClient(http=http) as client:
        yield client


async def test_a_request_is_submitted_read_and_cancelled(client: AsyncClient) -> None:
    estimate = await client.dry_run(KLING, KLING_INPUT)
    assert estimate["dry_run"]
    request = await client.submit(KLING, KLING_INPUT, reference="shot-1")
    assert (await request.status()).status == "in_queue"
    assert (await request.details())["reference"] == "shot-1"
    assert await request.cancel() == "cancelled"
    with pytest.raises(errors.RequestCancelled) as caught:
        await request.wait(5)
    assert caught.value.billed == "no"


async def test_a_repeated_key_is_the_same_request(client: AsyncClient) -> None:
    first = await client.submit(KLING, KLING_INPUT, idempotency_key="order-7")
    again = await client.submit(KLING, KLING_INPUT, idempotency_key="order-7")
    other = await client.submit(KLING, KLING_INPUT, cache="off")
    with pytest.raises(errors.IdempotencyKeyReused):
        await client.submit(KLING, {**KLING_INPUT, "duration": 6}, idempotency_key="order-7")
    assert again.id == first.id != other.id


async def test_a_batch_is_submitted_and_shown(client: AsyncClient) -> None:
    made = await client.batch(
        [
            {"model_id": KLING, "input": KLING_INPUT, "reference": "good"},
            {"model_id": KLING, "input": {"prompt": 5}, "reference": "bad"},
        ],
        admit="fit",
    )
    shown = await client.show_batch(made.batch_id)
    with pytest.raises(errors.WaitTimeout):
        await client.wait_for_batch(made.batch_id, 0)
    assert [item.reference for item in shown.items] == ["good", None]  # of requests
    assert shown.items[1].error is not None
    assert shown.counts["refused"] == 1


async def test_refusals_are_classes(client: AsyncClient) -> None:
    with pytest.raises(errors.InvalidInput) as invalid:
        await client.submit(KLING, {"prompt": 5})
    with pytest.raises(errors.UnknownModel):
        await client.submit("no/such-model", {})
    with pytest.raises(errors.CostAboveLimit):
        await client.submit(KLING, KLING_INPUT, max_cost=0.01)
    with pytest.raises(errors.NotFound):
        await client.request("019aac77-eeb8-7a3d-9c1e-5b7f20d4e681").status()
    with pytest.raises(errors.MalformedRequest):
        await client.submit(KLING, KLING_INPUT, priority="urgent")
    assert "/start_image_url" in {field.path for field in invalid.value.fields}


async def test_a_wrong_key_is_told_apart() -> None:
    async with open_app().client("rcg_wrong") as http:
        with pytest.raises(errors.Unauthenticated):
            await AsyncClient(http=http).usage()


async def test_models_and_usage(client: AsyncClient) -> None:
    assert KLING in {one["model_id"] for one in (await client.models("kling"))["models"]}
    assert (await client.model(KLING))["model_id"] == KLING
    assert (await client.usage())["tenant"]
