import pytest

from core.errors import InvalidInput
from core.tenants.tenant import check_tenant_name


@pytest.mark.parametrize("name", ["a", "0", "video-team", "a--b", "a" * 40])
def test_good_names_pass(name: str) -> None:
    assert check_tenant_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "A", "a_b", "a b", "a.b", "a" * 41, "a\n", "é", "../etc", "gw:tenant"],
    ids=ascii,
)
def test_a_name_that_could_be_misread_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_tenant_name(name)
