"""A request's event stream as the client reads it."""

from runcomfy_gateway_client.event_stream import EventStream

FIRST = b'retry: 1000\n\nid: 0\nevent: request.in_queue\ndata: {"status":\ndata: "in_queue"}\n\n'
LAST = b'id: 4\nevent: request.completed\ndata: {"status": "completed"}\n\n'


def test_events_are_the_same_however_the_stream_is_cut() -> None:
    whole = FIRST + b": \n\n" + LAST
    for size in range(1, len(whole)):
        stream = EventStream("one")
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        events = [event for chunk in chunks for event in stream.feed(chunk)]
        assert [(one.id, one.type, one.data["status"]) for one in events] == [
            ("0", "request.in_queue", "in_queue"),
            ("4", "request.completed", "completed"),
        ]
        assert stream.is_over


def test_a_stream_that_broke_goes_on_after_the_last_event() -> None:
    stream = EventStream("one")
    assert "last-event-id" not in stream.call().headers
    stream.feed(FIRST + LAST[:10])
    assert not stream.is_over
    assert stream.call().headers["last-event-id"] == "0"
    assert [one.id for one in stream.feed(LAST)] == ["4"]


def test_an_answer_without_content_ends_it() -> None:
    stream = EventStream("one", "4")
    stream.opened(204)
    assert stream.is_over
