"""`nofrost models signal` prints mean and variance behind each block of a new network."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from nofrost.cli import cli
from nofrost.errors import UserError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["models", "signal", "--image-size", "16", *arguments])


def test_text_and_json_name_every_block_and_the_variance_it_was_built_for() -> None:
    arguments = ("--arch", "resnet8", "--normaliser", "nf", "--channels", "1", "--seed", "3")
    text, blocks = run(*arguments).output.splitlines(), json.loads(run(*arguments, "--json").output)
    assert [block["name"] for block in blocks] == ["stages.0", "stages.1", "stages.2"]
    assert [block["expected_variance"] for block in blocks] == [2.0, 2.0, 2.0]
    for line, block in zip(text[1:], blocks, strict=True):
        expected = f"{block['squared_mean']:.4g}", f"{block['variance']:.4g}", "2"
        assert tuple(line.split()) == (block["name"], *expected)


def test_a_network_that_expects_nothing_leaves_the_column_empty() -> None:
    assert [len(line.split()) for line in run("--arch", "resnet8").output.splitlines()[1:]] == [3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--arch", "resnet9"), "resnet9"), (("--arch", "resnet8", "--normaliser", "in", "--image-size", "4"), "1 x 1")],
)
def test_a_network_that_cannot_be_is_told_in_one_sentence(arguments: tuple[str, ...], word: str) -> None:
    with pytest.raises(UserError, match=word):
        CliRunner().invoke(cli, ["models", "signal", *arguments], catch_exceptions=False)
