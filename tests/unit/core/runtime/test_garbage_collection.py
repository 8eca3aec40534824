import gc

from core.runtime.garbage_collection import without_collection


def test_collections_go_on_after_the_body() -> None:
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
