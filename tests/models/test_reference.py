"""A model that a function returns is loaded by module or file; any fault is one sentence."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nofrost.errors import UserError
from nofrost.models.reference import Reference

CODE = """
import torch
from torch import nn

class Tiny(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :3]

def tiny():
    return Tiny().train()

def linear(classes, bias=True):
    return nn.Linear(4, classes, bias=bias)

def number():
    return 7

def failing():
    raise FileNotFoundError("weights.pt is not there\\nand more")

ready = Tiny()
constant = 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with two modules of one's own."""
    (tmp_path / "own_nets.py").write_text(CODE)
    (tmp_path / "own_broken.py").write_text("import no_such_package_of_mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("own_nets", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("place", ["own_nets", "own_nets.py", "./own_nets.py"])
@pytest.mark.parametrize("name", ["tiny", "ready", "Tiny"])
def test_a_model_is_made_from_a_module_or_a_file_of_the_current_folder(place: str, name: str, tmp_path: Path) -> None:
    reference = Reference(f"{place}:{name}")
    model = reference.load()
    assert model(torch.ones(2, 1, 2, 2)).shape == (2, 3)
    assert not model.training
    assert reference.code_sha256() == hashlib.sha256((tmp_path / "own_nets.py").read_bytes()).hexdigest()


def test_the_function_is_called_with_the_settings() -> None:
    model = Reference("own_nets:linear", {"classes": 6, "bias": False}).load()
    assert (model.out_features, model.bias) == (6, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own_nets", "model 'own_nets' is not of the form module:function or file.py:function"),
        (":tiny", "is not of the form"),
        ("own_nets:", "is not of the form"),
        ("own_nets:a b", "is not of the form"),
        (
            "own_netz:tiny",
            "there is no module own_netz in .* or among the installed ones: choose another, or a file.py",
        ),
        ("own_nets.deeper:tiny", "own_nets.deeper"),
        ("no_such_file.py:tiny", "no_such_file.py is missing: name a file of Python code, or a module"),
        ("own_broken:tiny", "own_broken cannot be imported: it raised ModuleNotFoundError: No module named 'no_such_p"),
        ("own_broken.py:tiny", "own_broken.py cannot be imported: it raised ModuleNotFoundError"),
        ("own_nets:tinny", "unknown function of own_nets 'tinny': did you mean 'tiny'"),
        ("own_nets:number", "model own_nets:number is a int: it must be a torch.nn.Module"),
        ("own_nets:constant", "model own_nets:constant is a int: it must be a torch.nn.Module"),
        (
            "own_nets:linear",
            r"own_nets:linear cannot be created: it raised TypeError: .*missing 1 required .*'classes'",
        ),
        (
            "own_nets:failing",
            "own_nets:failing cannot be created: it raised FileNotFoundError: weights.pt is not there$",
        ),
    ],
)
def test_a_reference_that_cannot_be_loaded_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Reference(text).load()
    assert "\n" not in str(caught.value)
