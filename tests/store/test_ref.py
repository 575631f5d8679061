"""The text form of refs and outputs."""

from __future__ import annotations

import pytest

from nofrost.errors import UserError
from nofrost.store import Output, Ref

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (MD5, Ref(MD5)),
        (f"{MD5}:0", Ref(MD5, 0)),
        (f"{MD5}:1048576", Ref(MD5, 1048576)),
        (f"{MD5}.dir", Ref(f"{MD5}.dir")),
        (f"{MD5}.dir:5", Ref(f"{MD5}.dir", 5)),
        (f"{MD5}.dir:1048576:12", Ref(f"{MD5}.dir", 1048576, 12)),
    ],
)
def test_a_ref_survives_parsing_and_printing(text: str, ref: Ref) -> None:
    assert Ref.parse(text) == ref
    assert str(ref) == text
    assert ref.is_dir == (".dir" in text)


@pytest.mark.parametrize(
    "text",
    ["", "abc", MD5[:-1], MD5.upper(), f"{MD5}0", f"{MD5}.DIR", f"{MD5}:", f"{MD5}:-1", f"{MD5}:1:2", f"{MD5}.dir::3",
     f"{MD5}.dir:1:2:3", f" {MD5}", f"{MD5}\n", f"{MD5}.dir:1:2\n", f"{MD5}:١", "../" + MD5, f"{MD5}.dir.dir"],
)  # fmt: skip
def test_malformed_refs_are_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(UserError, match=r"is not a ref: write 32 hexadecimal digits"):
        Ref.parse(text)


@pytest.mark.parametrize("path", ["data", "data/dataset", "a@b/c d", "runs/sat/seed-0/train"])
def test_an_output_survives_parsing_and_printing(path: str) -> None:
    output = Output(path, Ref(f"{MD5}.dir", 5, 1))
    assert str(output) == f"{path}@{MD5}.dir:5:1"
    assert Output.parse(str(output)) == output


@pytest.mark.parametrize(
    "path", ["", ".", "/data", "../data", "data/../x", "data/..", "data//x", "./data", "data/", "a\0b"]
)
def test_an_output_stays_in_its_workspace(path: str) -> None:
    with pytest.raises(UserError, match=r"(is not|cannot be the path of) an output"):
        Output.parse(f"{path}@{MD5}")


def test_an_output_without_a_ref_is_refused() -> None:
    with pytest.raises(UserError, match="is not an output: write PATH@REF"):
        Output.parse("data/dataset")
