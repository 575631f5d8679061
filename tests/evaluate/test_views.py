"""Evaluation views: what a model sees of arrays and of photographs, against torchvision's transforms on the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nofrost import models
from nofrost.config import AdversarialSuite, EvaluationView, OodSuite
from nofrost.data import Photographs, Split, from_tensor, read_split, to_tensor
from nofrost.errors import UserError
from nofrost.evaluate import run
from nofrost.evaluate.measuring.sample import sample_of_split
from nofrost.results import EvaluationRecord, read_result
from nofrost.transforms.corruptions import corrupt
from tests.evaluate.conftest import checkpoint
from tests.photographs_on_disk import VIEW, write_dataset

MakeSuite = Callable[..., AdversarialSuite]
MakeOodSuite = Callable[..., OodSuite]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of photographs: 21 in the test split, in several shards."""
    return write_dataset(tmp_path_factory.mktemp("photographs"), train=6, others=21)


@pytest.fixture(scope="session")
def photograph_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for the photographs' view of 16 pixels, whose answers are not all the same class."""
    torch.manual_seed(0)
    model = models.create_model("resnet8", normaliser="bn", num_classes=3, image_size=16, channels=3)
    return checkpoint(tmp_path_factory.mktemp("model"), model)


def seen(images: list[Image.Image], view: EvaluationView) -> torch.Tensor:
    """What torchvision's transforms make of images: floats [N, C, crop, crop]."""
    transforms = pytest.importorskip("torchvision.transforms")
    steps = [transforms.Resize(view.resize), transforms.CenterCrop(view.crop), transforms.ToTensor()]
    return torch.stack([transforms.Compose(steps)(image) for image in images])


def decoded(split: Split) -> list[Image.Image]:
    images = split.images
    if isinstance(images, Photographs):
        return [images.decoded(row) for row in range(len(images))]
    return [Image.fromarray(image.squeeze(-1)) for image in images]


def right(model: Path, images: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return models.load_model(model)(images).argmax(1).numpy() == labels


def measured(out: Path, key: str) -> np.ndarray:
    with np.load(out / "flags.npz", allow_pickle=False) as flags:
        return flags[key]


def protocol_of(out: Path) -> Any:
    return read_result(EvaluationRecord, out / "record.json").protocol


@pytest.mark.parametrize("view", [None, EvaluationView(resize=18, crop=16), EvaluationView(resize=24, crop=24)])
def test_photographs_are_seen_as_torchvision_resizes_and_crops_them(
    photographs: Path, photograph_model: Path, make_ood_suite: MakeOodSuite, tmp_path: Path, view: EvaluationView | None
) -> None:
    suite = make_ood_suite(corruptions=["brightness"], severities=[3], view=view, batch_size=8)
    run(photographs, photograph_model, suite, tmp_path / "out")
    split = read_split(photographs, "test")
    images = seen(decoded(split), view or VIEW)
    assert np.array_equal(measured(tmp_path / "out", "correct/clean"), right(photograph_model, images, split.labels))
    brighter = corrupt(images, "brightness", 3, seed=0, indices=np.array(split.indices))
    expected = right(photograph_model, brighter, split.labels)
    assert np.array_equal(measured(tmp_path / "out", "correct/brightness/3"), expected)
    assert protocol_of(tmp_path / "out").view == (view or VIEW)


def test_an_array_is_seen_as_torchvision_resizes_and_crops_it(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    view = EvaluationView(resize=14, crop=12)
    run(dataset, plain_checkpoint, make_suite(view=view, attacks={"fgsm": None}), tmp_path / "out")
    split = read_split(dataset, "test")
    images = seen(decoded(split), view)
    assert np.array_equal(measured(tmp_path / "out", "correct/clean"), right(plain_checkpoint, images, split.labels))
    assert protocol_of(tmp_path / "out").view == view
    with np.load(tmp_path / "out/examples.npz", allow_pickle=False) as examples:
        assert examples["images"].shape == examples["adversarial"].shape == (8, 12, 12, 1)


def test_without_a_view_an_array_is_evaluated_as_it_is_stored(
    dataset: Path, plain_checkpoint: Path, make_ood_suite: MakeOodSuite, tmp_path: Path
) -> None:
    run(dataset, plain_checkpoint, make_ood_suite(severities=[1]), tmp_path / "out")
    assert protocol_of(tmp_path / "out").view is None


def test_only_the_photographs_of_a_batch_are_read(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    whole = Photographs.encoded
    monkeypatch.setattr(Photographs, "encoded", lambda self, row: read.append(row) or whole(self, row))
    sample = sample_of_split(read_split(photographs, "test"), None)
    sample.select(np.array([3, 9, 5])).read(np.array([2, 0]))
    assert sorted(read) == [3, 5]


def test_a_model_of_another_size_needs_a_view_and_must_take_that_size(
    dataset: Path, tmp_path: Path, make_suite: MakeSuite
) -> None:
    for arch in ("resnet8", "mlp-1-16"):
        model = models.create_model(arch, normaliser="none", num_classes=10, image_size=12, channels=1)
        checkpoint(tmp_path / arch, model)
        with pytest.raises(UserError, match=r"image size \(12, 12\) against \(8, 8\)"):
            run(dataset, tmp_path / arch, make_suite(), tmp_path / "out")
    view = EvaluationView(resize=16, crop=16)
    run(dataset, tmp_path / "resnet8", make_suite(view=view, attacks={"fgsm": None}), tmp_path / "out")
    with pytest.raises(UserError, match=r"arch 'mlp-1-16' does not take images of 16 x 16 .* as the view"):
        run(dataset, tmp_path / "mlp-1-16", make_suite(view=view), tmp_path / "out")


def test_noise_before_the_resize_is_drawn_in_stored_pixels_and_enlarged_with_the_image(
    dataset: Path, plain_checkpoint: Path, make_ood_suite: MakeOodSuite, tmp_path: Path
) -> None:
    view = EvaluationView(resize=16, crop=16)
    suite = make_ood_suite(severities=[5], view=view, before_resize=True, seed=3, batch_size=16)
    run(dataset, plain_checkpoint, suite, tmp_path / "out")
    split = read_split(dataset, "test")
    noisy = corrupt(to_tensor(split.images), "gaussian_noise", 5, seed=3, indices=np.array(split.indices))
    images = seen([Image.fromarray((image[0] * 255).round().byte().numpy()) for image in noisy], view)
    expected = right(plain_checkpoint, images, split.labels)
    assert np.array_equal(measured(tmp_path / "out", "correct/gaussian_noise/5"), expected)
    after = corrupt(seen(decoded(split), view), "contrast", 5, seed=3, indices=np.array(split.indices))
    assert np.array_equal(
        measured(tmp_path / "out", "correct/contrast/5"), right(plain_checkpoint, after, split.labels)
    )
    with np.load(tmp_path / "out/examples.npz", allow_pickle=False) as examples:
        assert np.array_equal(examples["corrupted"][0, 0], from_tensor(images[:1])[0])


def test_noise_before_the_resize_of_a_photograph_is_in_its_own_pixels(
    photographs: Path, photograph_model: Path, make_ood_suite: MakeOodSuite, tmp_path: Path
) -> None:
    suite = make_ood_suite(corruptions=["shot_noise"], severities=[5], before_resize=True)
    run(photographs, photograph_model, suite, tmp_path / "out")
    split = read_split(photographs, "test")
    images = []
    for image, index in zip(decoded(split), split.indices, strict=True):
        noisy = corrupt(to_tensor(np.asarray(image)[None]), "shot_noise", 5, seed=0, indices=[int(index)])[0]
        images.append(Image.fromarray((noisy * 255).round().byte().permute(1, 2, 0).numpy()))
    expected = right(photograph_model, seen(images, VIEW), split.labels)
    assert np.array_equal(measured(tmp_path / "out", "correct/shot_noise/5"), expected)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "before_resize: the images are evaluated as they are stored, nothing is resized: set view"),
        ({"view": {"resize": 16, "crop": 16}, "corruptions": ["contrast"]}, "before_resize: none of the corruptions"),
    ],
)
def test_noise_before_a_resize_that_is_none_is_refused(
    dataset: Path,
    plain_checkpoint: Path,
    make_ood_suite: MakeOodSuite,
    tmp_path: Path,
    keys: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        run(dataset, plain_checkpoint, make_ood_suite(before_resize=True, **keys), tmp_path / "out")
    assert not (tmp_path / "out").exists()
