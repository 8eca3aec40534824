import base64
import re

from hypothesis import given
from hypothesis import strategies as st

from service.models.media.content import decoded_size
from service.models.media.fields import find_url_error, is_plain_url

HOSTS = st.lists(
    st.sampled_from(
        [
            *("a", "127", "0x7f", "localhost", "metadata", "goog", "internal", "arpa", "home"),
            *("-a", "a-", "xn--a", "A", "local", "tencentyun", "1", "", "é", "a" * 63, "test"),
            *("lan", "com"),
        ]
    ),
    min_size=1,
    max_size=5,
)


@given(HOSTS, st.sampled_from(["", ":1", "@", ":0"]), st.text("a/?#%\\ é@", max_size=6))
def test_the_short_way_is_never_kinder(labels: list[str], port: str, path: str) -> None:
    url = f"https://{'.'.join(labels)}{port}/{path}"
    assert not is_plain_url(url) or find_url_error(url) is None


@given(st.binary(max_size=64))
def test_the_decoded_size_is_what_decoding_gives(content: bytes) -> None:
    assert decoded_size(base64.b64encode(content).decode()) == len(content)


BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@given(st.text("QUJD=-_ \né", max_size=12))
def test_a_text_has_a_decoded_size_exactly_when_it_is_base64(text: str) -> None:
    # Python's own decoder accepts superfluous padding, and so is no reference here.
    assert (decoded_size(text) is not None) == bool(BASE64.fullmatch(text))
