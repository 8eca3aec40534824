import socket

import pytest


def test_the_unit_tier_has_no_network() -> None:
    with pytest.raises(UserWarning, match=r"tried to use socket"):
        socket.create_connection(("127.0.0.1", 9))
