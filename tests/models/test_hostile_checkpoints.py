"""Checkpoints that were damaged or made up: one sentence that names file and field, and no memory taken."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import nofrost
from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.models import Classifier, create_model, load_pretrained, save_checkpoint


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return create_model("resnet8", num_classes=3, image_size=16, channels=1, classes=("a", "b", "c"))


@pytest.fixture
def checkpoint(model: Classifier, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best.safetensors", model, {})
    return tmp_path / "best.safetensors"


def refusal(action: Callable[[], Any]) -> str:
    """Return the sentence with which an action is refused."""
    with pytest.raises(UserError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def change_record(checkpoint: Path, **fields: Any) -> None:
    record = checkpoint.with_suffix(".json")
    content = json.loads(record.read_text())
    content["signature"] |= fields
    content["sha256"] = sha256_file(checkpoint)
    record.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"num_classes": 10**9}, "num_classes"),
        ({"num_classes": 10**5, "classes": []}, "another architecture"),
        ({"num_classes": -1}, "classes"),
        ({"num_classes": [3]}, "num_classes"),
        ({"num_classes": True}, "num_classes"),
        ({"num_classes": 2.5}, "num_classes"),
        ({"num_classes": None}, "num_classes"),
        ({"num_classes": 10**100}, "num_classes"),
        ({"channels": 10**9}, "channels"),
        ({"channels": -3}, "channels"),
        ({"channels": 3}, "mean has 1 numbers for 3 channels"),
        ({"channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}, "has shape"),
        ({"image_size": [10**9, 16]}, "image_size"),
        ({"image_size": [-1, 16]}, "image_size"),
        ({"image_size": [16]}, "image_size"),
        ({"image_size": "16"}, "image_size"),
        ({"mean": ["x"]}, "mean"),
        ({"mean": []}, "mean"),
        ({"mean": [1e300]}, "mean"),
        ({"std": [0]}, "std"),
        ({"std": [-0.1]}, "std"),
        ({"std": [[0.5]]}, "std"),
        ({"classes": ["a"]}, "classes has 1 names for 3 classes"),
        ({"classes": "abc"}, "classes"),
        ({"classes": [1, 2, 3]}, "classes"),
        ({"arch": ["resnet8"]}, "arch"),
        ({"arch": {"a": 1}}, "arch"),
        ({"arch": 8}, "arch"),
        ({"arch": ""}, "arch"),
        ({"arch": "resnet8\n"}, "unknown arch"),
        ({"arch": "x" * 10**6}, "arch"),
        ({"arch": "wrn-1000000-1"}, "1000000"),
        ({"arch": f"wrn-{'9' * 80}-1"}, "no network has a size"),
        ({"arch": "wrn-600004-1"}, "another architecture"),
        ({"arch": "mlp-900000-8"}, "another architecture"),
        ({"arch": "mlp-2-900000"}, "another architecture"),
        ({"arch": "vit_giant_patch14_224", "image_size": [16, 16]}, "vit_giant_patch14_224"),
        ({"normaliser": "bm"}, "normaliser"),
        ({"normaliser": ["bn"]}, "normaliser"),
        ({"normaliser": "mbn"}, "another architecture"),
        ({"normaliser_eps": -1}, "normaliser_eps"),
        ({"groups": 0}, "groups"),
        ({"dropout": 2.0}, "dropout"),
        ({"dropout": "much"}, "dropout"),
        ({"drop_path": 1}, "drop_path"),
        ({"mixture_weight": 7}, "mixture_weight"),
        ({"mixture_share": -1}, "mixture_share"),
        ({"mixture_inference": "none"}, "mixture_inference"),
        ({"affine": 3}, "affine"),
        ({"more": 3}, "more"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_record_out_of_bounds_names_its_field(checkpoint: Path, fields: dict[str, Any], word: str) -> None:
    change_record(checkpoint, **fields)
    assert word in refusal(lambda: nofrost.load_model(checkpoint))


@pytest.mark.parametrize("content", ["3", '"text"', "null", "[]", '{"signature": [], "sha256": ""}', '{"sha256": ""}'])
def test_a_record_of_another_form_is_refused(checkpoint: Path, content: str) -> None:
    checkpoint.with_suffix(".json").write_text(content)
    assert "best.json" in refusal(lambda: nofrost.load_model(checkpoint))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wrn-600004-1", "mlp-999999-9", "mlp-9-999999", "wrn-99999999-1"])
def test_an_absurd_architecture_is_refused_before_it_fills_memory(name: str) -> None:
    # on the device meta, so that the test itself cannot take the memory
    with torch.device("meta"):
        assert name in refusal(lambda: create_model(name, num_classes=3, image_size=32))


Change = Callable[[torch.Tensor], torch.Tensor]
CHANGES: list[tuple[str, Change, str]] = [
    ("network.conv1.weight", lambda tensor: tensor > 0, "holds truth values in the file and numbers in the model"),
    ("network.conv1.weight", lambda tensor: tensor.long(), "holds integers"),
    ("network.conv1.weight", lambda tensor: tensor.to(torch.complex64), "holds complex numbers"),
    ("network.conv1.weight", lambda tensor: tensor[None], "has shape"),
    ("network.conv1.weight", lambda tensor: tensor * torch.nan, "NaN or infinite"),
    ("network.conv1.weight", lambda tensor: tensor / 0, "NaN or infinite"),
]


@pytest.mark.parametrize(("name", "change", "words"), CHANGES)
@pytest.mark.parametrize("pretrained", [False, True])
def test_tensors_of_another_kind_are_named(
    checkpoint: Path, model: Classifier, name: str, change: Change, words: str, pretrained: bool
) -> None:
    tensors = load_file(checkpoint)
    save_file({**tensors, name: change(tensors[name]).contiguous()}, checkpoint)
    change_record(checkpoint)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sentence = refusal(
        (lambda: load_pretrained(model, checkpoint)) if pretrained else (lambda: nofrost.load_model(checkpoint))
    )
    assert words in sentence
    assert name.removeprefix("network.") in sentence
    assert "best.safetensors" in sentence
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_weights_in_half_precision_are_still_taken(checkpoint: Path, model: Classifier) -> None:
    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in load_file(checkpoint).items()
    }
    save_file(halves, checkpoint)
    change_record(checkpoint)
    load_pretrained(model, checkpoint)
    assert torch.equal(model.network.conv1.weight.half(), halves["network.conv1.weight"])


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS: list[tuple[bytes, int | None, bytes]] = [
    (b"", None, b""),
    (b"{}", 1 << 60, b""),
    (b"{}", 10**9, b""),
    (b"{}", None, b"junk"),
    (b"[]", None, b""),
    (b"[" * 100_000, None, b""),
    (b'{"a": 3}', None, b""),
    (b'{"a": {"dtype": 3, "shape": 3}}', None, b""),
    (json.dumps({"a": {**TENSOR, "shape": [-1]}}).encode(), None, b"\0" * 8),
    (json.dumps({"a": {**TENSOR, "shape": [2**62, 2**62]}}).encode(), None, b"\0" * 8),
    (json.dumps({"a": {**TENSOR, "shape": [True]}}).encode(), None, b"\0" * 8),
    (json.dumps({"a": {**TENSOR, "dtype": "XX"}}).encode(), None, b"\0" * 8),
    (json.dumps({"a": TENSOR, "b": TENSOR}).encode(), None, b"\0" * 8),
    (f'{{"a": {json.dumps(TENSOR)}, "a": {json.dumps(TENSOR)}}}'.encode(), None, b"\0" * 8),
    (json.dumps({"a": {**TENSOR, "data_offsets": [8, 0]}}).encode(), None, b"\0" * 8),
    (json.dumps({"a\nb": TENSOR}).encode(), None, b"\0" * 8),
    (b"\xff\xfe", None, b""),
    (pickle.dumps({"a": 1}), None, b""),
]


@pytest.mark.parametrize(("header", "length", "data"), HEADERS, ids=range(len(HEADERS)))
@pytest.mark.parametrize("pretrained", [False, True])
def test_a_made_up_file_is_refused(
    checkpoint: Path, model: Classifier, header: bytes, length: int | None, data: bytes, pretrained: bool
) -> None:
    checkpoint.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    change_record(checkpoint)
    sentence = refusal(
        (lambda: load_pretrained(model, checkpoint)) if pretrained else (lambda: nofrost.load_model(checkpoint))
    )
    assert "best.safetensors" in sentence


def test_a_file_that_claims_more_than_the_model_has_is_not_read(checkpoint: Path, model: Classifier) -> None:
    header = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [2**33], "data_offsets": [0, 2**35]}}).encode()
    checkpoint.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(checkpoint, checkpoint.stat().st_size + 2**35)  # 32 GB that take no room
    checkpoint.with_suffix(".json").unlink()
    assert "not in the file" in refusal(lambda: load_pretrained(model, checkpoint))


def test_pipes_devices_and_links_to_them_are_refused(checkpoint: Path, model: Classifier) -> None:
    os.mkfifo(checkpoint.with_name("pipe.safetensors"))
    checkpoint.with_name("zero.safetensors").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        for load in (nofrost.load_model, lambda path: load_pretrained(model, path)):
            assert "not a regular file" in refusal(lambda: load(checkpoint.with_name(f"{name}.safetensors")))  # noqa: B023
    checkpoint.unlink()
    checkpoint.symlink_to("/dev/zero")
    for load in (nofrost.load_model, lambda path: load_pretrained(model, path)):
        assert "not a regular file" in refusal(lambda: load(checkpoint.parent))  # noqa: B023
    checkpoint.unlink()
    checkpoint.write_bytes(b"")
    checkpoint.with_suffix(".json").unlink()
    os.mkfifo(checkpoint.with_suffix(".json"))
    assert "best.json is a named pipe" in refusal(lambda: nofrost.load_model(checkpoint))


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pkl", ".safetensors"])
def test_a_pickle_is_refused_and_never_loaded(
    checkpoint: Path, model: Classifier, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    file = checkpoint.with_name(f"weights{suffix}")
    file.write_bytes(pickle.dumps(Bomb()))
    file.with_suffix(".json").write_text(checkpoint.with_suffix(".json").read_text())
    for load in (nofrost.load_model, lambda path: load_pretrained(model, path)):
        assert f"weights{suffix}" in refusal(lambda: load(file))  # noqa: B023
    assert not Path("exploded").exists()


@pytest.mark.parametrize("path", [None, 3, b"bytes", [], "", "a\0b", "x" * 5000, "/proc/self/mem"])
def test_a_path_that_names_no_checkpoint_is_refused(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: nofrost.load_model(path))


@pytest.mark.parametrize(
    ("arch", "normaliser"),
    [
        ("resnet8", "mbn"),
        ("resnet8", "gn"),
        ("resnet8", "in"),
        ("mlp-2-8", "bn"),
        ("wrn-10-1", "mbn"),
        ("linear", "none"),
    ],
)
def test_the_limits_do_not_keep_out_a_model_that_fits(tmp_path: Path, arch: str, normaliser: str) -> None:
    model = create_model(arch, normaliser=normaliser, num_classes=2, image_size=16, channels=1)
    save_checkpoint(tmp_path / "best.safetensors", model, {})
    assert nofrost.load_model(tmp_path).signature == model.signature
