"""What goes through Kubeflow is ASCII without escapes, and comes out as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.tasks.ascii_text import from_ascii, to_ascii

TEXTS = st.one_of(st.text(), st.text(alphabet="aλ😀\\u%{} \n'\"#\x85\u2028é日", max_size=40))


@given(TEXTS)
def test_text_comes_back_equal_and_is_plain_on_the_way(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    sent = to_ascii(text)
    assert sent.isascii()
    assert "\\" not in sent
    assert "{{" not in sent
    assert from_ascii(sent) == text
    assert from_ascii(to_ascii(sent)) == sent


def test_plain_text_stays_as_it_is() -> None:
    for text in ("", "digits", '{"a": {"b": "100 %"}}', "name: x\ntitle: y\n"):
        assert to_ascii(text) == text == from_ascii(text)


def test_damaged_text_is_a_sentence() -> None:
    with pytest.raises(UserError, match="submit the study again"):
        from_ascii(to_ascii("λ").replace("%CE", "%C0"))
