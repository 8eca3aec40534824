from core.operators.pauses import Pause


def test_pauses_are_named_as_the_slots_are() -> None:
    names = [Pause.everything(), Pause.tenant("x"), Pause.model("a/b")]
    assert [pause.target for pause in names] == ["all", "tenant:x", "model:a/b"]
