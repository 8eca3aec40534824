import json
import shlex

from simulator.example import Example, load_kling_example


def body_of(command: str) -> object:
    words = shlex.split(command.replace("\\\n", " "))
    return json.loads(words[words.index("-d") + 1])


def test_the_sample_is_the_page_s_request() -> None:
    example = load_kling_example()
    assert example.model_id == "kling/kling-3.0/standard/image-to-video"
    assert set(example.input) == {"prompt", "start_image_url"}


def test_the_curl_line_says_exactly_the_input_also_with_quotes_in_it() -> None:
    example = Example("a/b", {"prompt": 'it\'s "so" \\ $HOME `id`\n'})
    command = example.curl("http://127.0.0.1:1", "k")
    assert body_of(command) == example.input
    assert "http://127.0.0.1:1/v1/models/a/b" in shlex.split(command.replace("\\\n", " "))


def test_long_texts_can_be_cut_for_showing() -> None:
    assert body_of(Example("m", {"prompt": "abcdef"}).curl("u", "k", max_length=3)) == {
        "prompt": "abc …"
    }
