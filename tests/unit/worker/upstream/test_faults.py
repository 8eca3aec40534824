from worker.upstream.faults import Redactor


def test_scrubbed_text_is_short_plain_and_without_token() -> None:
    scrub = Redactor("tok-5ecret")

    assert scrub.redact_message("a\x1b[31m\n b\u202e tok-5ecret \x00c") == "a[31m b [redacted] c"
    assert scrub.redact_message("tok\x00-5ecret") == "[redacted]"
    assert scrub.redact_message("x" * 10_000) == "x" * 500
    assert scrub.redact_label("y" * 100) == "y" * 64
    assert "tok" not in scrub.redact_message("\x00" * 3995 + "tok-5ecret")
    assert "tok-5ecret" not in repr(scrub)
