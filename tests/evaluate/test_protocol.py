"""What makes a number comparable is on record, and says how torch really stood."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nofrost.evaluate import Shard, evaluate_robustness, merge, run
from nofrost.models.device import exact_float32, hardware_name, state_of_float32

MakeSuite = Callable[..., Any]
Digits = tuple[torch.Tensor, torch.Tensor]


def protocol(model: nn.Module, digits: Digits, suite: Any, **arguments: Any) -> dict[str, Any]:
    return evaluate_robustness(model, *digits, suite, **arguments).protocol.as_json()


def test_a_result_records_what_makes_it_comparable(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    suite = make_suite(max_images=8, batch_size=8, seed=3)
    result = evaluate_robustness(robust_model, *test_digits, suite)
    made = result.protocol.as_json()
    assert json.loads(json.dumps(made)) == made
    assert [len(made.pop(key)) for key in ("suite_sha256", "data_sha256")] == [64, 64]
    assert made == {
        "suite": "Short",
        "view": None,
        "threat": {"norm": "linf", "eps": "0.12"},
        "samples": 8,
        "indices_sha256": result.sample.indices_sha256(),
        "seeds": {"suite": 3},
        "batch_size": 8,
        "reduced_batch_sizes": {},
        "dtype": "float32",
        "tf32": False,
        "autocast": False,
        "deterministic": True,
        "device": "cpu",
        "devices": [hardware_name(torch.device("cpu"))],
        "versions": {name: version(name) for name in ("nofrost", "torch", "numpy")},
    }


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({}, set()),
        ({"seed": 1}, {"suite_sha256", "seeds"}),
        ({"batch_size": 4}, {"suite_sha256", "batch_size"}),
        ({"max_images": 4}, {"suite_sha256", "samples", "indices_sha256", "data_sha256"}),
        ({"threat": {"norm": "linf", "eps": "0.1"}}, {"suite_sha256", "threat"}),
    ],
)
def test_work_that_differs_has_a_record_that_differs(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, change: dict[str, Any], keys: set[str]
) -> None:
    base = {"max_images": 8, "batch_size": 8, "attacks": {"fgsm": {}}}
    one = protocol(robust_model, test_digits, make_suite(**base))
    other = protocol(robust_model, test_digits, make_suite(**{**base, **change}))
    assert {key for key in one if one[key] != other[key]} == keys


def test_other_images_have_another_checksum(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    suite = make_suite(max_images=8, attacks={"fgsm": {}})
    images, labels = test_digits
    shifted = images.clone()
    shifted[0, 0, 0, 0] = 1 - shifted[0, 0, 0, 0]
    made = [protocol(robust_model, digits, suite) for digits in ((images, labels), (shifted, labels))]
    assert made[0]["data_sha256"] != made[1]["data_sha256"]
    assert made[0]["indices_sha256"] == made[1]["indices_sha256"]


def test_the_state_of_torch_is_read_and_not_claimed() -> None:
    cpu = torch.device("cpu")
    with torch.autocast("cpu"):
        assert state_of_float32(cpu)["autocast"]
        with exact_float32(cpu):
            assert state_of_float32(cpu) == {"tf32": False, "autocast": False, "deterministic": True}
    assert not state_of_float32(cpu)["deterministic"] or torch.backends.cudnn.deterministic


def test_merging_names_every_device_that_took_part_and_asks_for_one_kind_only(
    dataset: Path, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    shards = [tmp_path / name for name in ("a", "b")]
    for index, shard in enumerate(shards):
        run(dataset, plain_checkpoint, suite, shard, Shard(index, 2))
    made = json.loads((shards[1] / "record.json").read_text())
    made["protocol"]["devices"] = ["Another CPU"]
    (shards[1] / "record.json").write_text(json.dumps(made))
    merge(dataset, plain_checkpoint, suite, shards, tmp_path / "out")
    merged = json.loads((tmp_path / "out/record.json").read_text())["protocol"]["devices"]
    assert merged == sorted({"Another CPU", hardware_name(torch.device("cpu"))})
