"""Which way a file goes to RunComfy."""

import pytest

from core.files.delivery import DeliveryPolicy, FileDelivery

AUTO, PRESIGNED, LINK, DATA_URI = FileDelivery


@pytest.mark.parametrize(
    ("delivery", "public_url", "can_presign", "chosen"),
    [
        (AUTO, "https://gateway.example.com", True, PRESIGNED),
        (AUTO, "https://gateway.example.com", False, LINK),
        (AUTO, None, False, DATA_URI),
        (AUTO, "http://gateway.example.com", False, DATA_URI),
        (AUTO, "https://gateway", False, DATA_URI),
        (AUTO, "https://gateway.internal", False, DATA_URI),
        (LINK, "https://gateway.example.com", True, LINK),
        (DATA_URI, "https://gateway.example.com", True, DATA_URI),
    ],
)
def test_the_first_that_can_be_used_is_chosen(
    *, delivery: FileDelivery, public_url: str | None, can_presign: bool, chosen: FileDelivery
) -> None:
    policy = DeliveryPolicy(delivery, 1, public_url)
    assert policy.choose(can_presign=can_presign) is chosen
