"""Connections never use up the descriptors that Redis needs."""

from resource import RLIM_INFINITY

import pytest

from core.http_server.file_descriptors import RESERVED, plan_descriptors


@pytest.mark.parametrize(
    ("soft", "hard", "limit", "connections"),
    [
        (1024, 4096, 2000 + RESERVED, 1000),
        (1024, RLIM_INFINITY, 2000 + RESERVED, 1000),
        (4096, 4096, 4096, 1000),
        (RLIM_INFINITY, RLIM_INFINITY, RLIM_INFINITY, 1000),
        (256, 256, 256, (256 - RESERVED) // 2),
        (128, 512, 512, (512 - RESERVED) // 2),
        (RESERVED, RESERVED, RESERVED, 1),
    ],
)
def test_a_margin_is_kept(soft: int, hard: int, limit: int, connections: int) -> None:
    assert plan_descriptors(1000, soft, hard) == (limit, connections)
