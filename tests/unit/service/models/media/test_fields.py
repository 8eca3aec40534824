import base64

import pytest

from service.models.media.fields import (
    MAX_MEDIA_BYTES,
    PRIVATE_NAMES,
    MediaKind,
    find_media_error,
    find_url_error,
    is_plain_url,
)

PAGE_SAMPLE = "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png"

GOOD = (
    PAGE_SAMPLE,
    "https://example.com/a.png",
    "https://example.com",
    "https://example.com/",
    "https://example.com?file=1",
    "HTTPS://CDN.Example.COM/Image",
    "https://cdn.example.com:8443/no-extension",
    "https://cdn.example.com:1/x",
    "https://example.com/a@b:c/1.0.0.1/127.0.0.1",
    "https://example.com/?u=http://127.0.0.1/",
    "https://bucket.s3.amazonaws.com/k?X-Amz-Signature=ab%2Fcd&X-Amz-Expires=60",
    "https://xn--bcher-kva.example/b%C3%BCcher.jpg",
    "https://8.8.8.8/dns.png",
    "https://93.184.216.34:443/a",
    "https://[2606:4700:4700::1111]/a.webp",
    "https://[2A00:1450:4001:82A::200E]:8443/x",
    "https://my_bucket.storage.example.org/x",
    "https://localhost.example.com/x",
    "https://internal.example.com/x",
    "https://10.example.com/x",
    "https://home.example.com/x",
    "https://bücher.example/",
    "https://bücher.example:8443/Käse und.png".replace(" ", "-"),
    "https://\uff45xample.com/",
    "https://例え.jp/画像.png?名=猫",
    "https://cdn.example.com/Käse.png",
    "https://cdn.example.com?q=ü",
)

HOSTILE = (
    # other schemes and no URLs at all
    "",
    " ",
    "cat.png",
    "/etc/passwd",
    "//example.com/a.png",
    "http://example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript:alert(1)",
    "blob:https://example.com/1",
    "https:/example.com/a.png",
    "https:example.com/a.png",
    "https://",
    "https:///a.png",
    "https://?x",
    # user information and parsers that disagree
    "https://user@example.com/a.png",
    "https://user:pass@example.com/a.png",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1@example.com/",
    "https://example.com%40127.0.0.1/",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\\.example.com/",
    "https://example.com#@127.0.0.1/",
    "https://127.0.0.1#.example.com/",
    "https://example.com/a.png#fragment",
    "https://exam\tple.com/",
    "https://example.com/\r\nHost: 127.0.0.1",
    "\x00https://example.com/",
    " https://example.com/",
    "https://example.com/a b.png",
    # ports
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:99999999999/",
    "https://example.com:-1/",
    "https://example.com:8o/",
    "https://example.com:80:90/",
    # IPv4, as it should be written
    "https://127.0.0.1/",
    "https://127.255.255.254:8443/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2/v2/credentials",
    "https://100.64.0.1/",
    "https://100.100.100.200/latest/meta-data",
    "https://168.63.129.16/metadata",
    "https://192.0.0.192/opc/v2/instance",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://198.51.100.7/",
    "https://203.0.113.9/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    # IPv4, as it should not
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.01/",
    "https://0/",
    "https://127.0.0.1./",
    "https://169.254.43518/",
    "https://0xa9fea9fe/",
    "https://2852039166/",
    "https://134744072/",
    "https://8.8.8.8.8/",
    "https://256.1.1.1/",
    "https://127.0.0.0x1/",
    "https://example.0x1/",
    "https://127。0。0。1/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127.0.0.%31/",
    "https://%31%32%37.0.0.1/",
    # IPv6
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/latest/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://[100::1]/",
    "https://[::1/",
    "https://::1/",
    "https://[]/",
    "https://[127.0.0.1]/",
    "https://[v1.x]/",
    # names
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://printer.local/",
    "https://printer.local./",
    "https://metadata/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://Metadata.Google.Internal/",
    "https://metadata.goog/",
    "https://metadata.tencentyun.com/",
    "https://vault.internal/",
    "https://kubernetes.default.svc.cluster.local/",
    "https://localhost.localdomain/",
    "https://router.home.arpa/",
    "https://nas.lan/",
    "https://wiki.corp/",
    "https://redis/",
    "https://hidden.onion/",
    "https://example.com./a.png",
    "https://example..com/",
    "https://.example.com/",
    "https://-example.com/",
    "https://example-.com/",
    "https://exa*mple.com/",
    "https://ⓛocalhost/",
    "https://bücher.example\ud800/",
    "https://\u0000bücher.example/",
    "https://user@bücher.example/",
    "https://bücher.example:80:90/",
    "https://example.com\uff03@127.0.0.1/",
    "https://example.com\uff0f.internal/",
    "https://metadata。google。internal/",
    "http://bücher.example/",
    "https://" + "ü" * 300 + ".example/",
    "https://loc\u00adalhost/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 130 + "com/",
    "https://example.com/" + "a" * 9000,
)

MEGABYTE = 1_000_000


def test_the_tables_are_as_long_as_the_danger_is_wide() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60
    assert len(set(GOOD)) == len(GOOD) >= 15


@pytest.mark.parametrize("url", GOOD)
def test_public_https_urls_pass(url: str) -> None:
    assert find_media_error(url, MediaKind.IMAGE, MEGABYTE) is None


@pytest.mark.parametrize("url", HOSTILE)
def test_what_runcomfy_should_not_fetch_is_refused(url: str) -> None:
    told = find_media_error(url, MediaKind.IMAGE, MEGABYTE)
    assert told
    assert told.startswith("must be ")
    assert len(told) < 200


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://0.0.0.0/", "the host's address is unspecified"),
        ("https://[fe80::1]/", "the host's address is link-local"),
        ("https://kubernetes.default.svc/", "the host's name is not a public one"),
    ],
)
def test_a_refused_host_is_told_of_in_english(url: str, told: str) -> None:
    assert find_url_error(url) == told


@pytest.mark.parametrize("name", sorted(PRIVATE_NAMES))
def test_every_private_name_is_refused_alone_and_below(name: str) -> None:
    assert find_media_error(f"https://{name}/", MediaKind.IMAGE, MEGABYTE)
    if "." not in name:
        assert find_media_error(f"https://x.{name}/", MediaKind.IMAGE, MEGABYTE)


@pytest.mark.parametrize("url", [url for url in (*GOOD, *HOSTILE) if is_plain_url(url)])
def test_the_short_way_passes_nothing_that_the_long_way_refuses(url: str) -> None:
    assert find_url_error(url) is None


def test_the_short_way_is_the_usual_one() -> None:
    assert is_plain_url(PAGE_SAMPLE)


def data(media_type: str, size: int = 12) -> str:
    return f"data:{media_type};base64,{base64.b64encode(bytes(size)).decode()}"


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        (data("image/png"), MediaKind.IMAGE),
        (data("IMAGE/JPEG"), MediaKind.IMAGE),
        (data("image/svg+xml"), MediaKind.IMAGE),
        ("DATA:image/png;base64,QUJD", MediaKind.IMAGE),
        (data("image/png;name=cat.png"), MediaKind.IMAGE),
        (data("video/mp4"), MediaKind.VIDEO),
        (data("audio/x-wav"), MediaKind.AUDIO),
        (data("image/png", size=1), MediaKind.IMAGE),
        (data("image/png", size=2), MediaKind.IMAGE),
        (data("image/png", size=3), MediaKind.IMAGE),
    ],
)
def test_data_uris_of_the_fields_own_kind_pass(uri: str, kind: MediaKind) -> None:
    assert find_media_error(uri, kind, MAX_MEDIA_BYTES[kind]) is None


@pytest.mark.parametrize(
    "uri",
    [
        "data:",
        "data:,hello",
        "data:image/png,raw",
        "data:;base64,QUJD",
        "data:image;base64,QUJD",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,QUI",
        "data:image/png;base64,QUJD====",
        "data:image/png;base64,=QUJ",
        "data:image/png;base64,QU=D",
        "data:image/png;base64,QU JD",
        "data:image/png;base64,QUJ\n",
        "data:image/png;base64,QU-_",
        "data:image/png;base64,QUJ%",
        "data:image/png;base64,QÜJD",
        "data:text/html;base64,QUJD",
        "data:video/mp4;base64,QUJD",
        "data:application/octet-stream;base64,QUJD",
        "data:image/" + "x" * 300 + ";base64,QUJD",
        " data:image/png;base64,QUJD",
    ],
)
def test_other_data_uris_are_refused(uri: str) -> None:
    assert find_media_error(uri, MediaKind.IMAGE, MEGABYTE)


def test_data_is_bounded_by_its_decoded_size_to_the_byte() -> None:
    fits, over = data("image/png", size=1000), data("image/png", size=1001)
    assert find_media_error(fits, MediaKind.IMAGE, 1000) is None
    assert (
        find_media_error(over, MediaKind.IMAGE, 1000) == "must be at most 1,000 bytes when decoded"
    )


def test_data_must_be_of_a_type_that_the_model_reads() -> None:
    reads = frozenset({"png", "jpeg"})
    assert find_media_error(data("image/PNG"), MediaKind.IMAGE, MEGABYTE, reads) is None
    told = find_media_error(data("image/gif"), MediaKind.IMAGE, MEGABYTE, reads)
    assert told == "must be image/ followed by one of jpeg, png"


def test_every_kind_has_a_bound() -> None:
    assert set(MAX_MEDIA_BYTES) == set(MediaKind)
