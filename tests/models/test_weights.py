"""Pre-trained weights, of our checkpoints and of other libraries, in the same network or one for new classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nofrost.errors import UserError
from nofrost.models import Classifier, MixtureBatchNorm, branch, create_model, load_pretrained, save_checkpoint

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def build(arch: str = "resnet8", *, seed: int = 0, **settings: object) -> Classifier:
    torch.manual_seed(seed)
    return create_model(arch, **{"num_classes": 3, "image_size": 16, "channels": 1, **settings}).eval()  # type: ignore[arg-type]


def answers(model: Classifier) -> torch.Tensor:
    with torch.no_grad():
        return model(IMAGES)  # type: ignore[no-any-return]


@pytest.fixture
def trained() -> Classifier:
    """A model whose batch norms have seen images."""
    model = build(seed=1)
    model.train()(IMAGES)
    return model.eval()


@pytest.fixture
def checkpoint(trained: Classifier, tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    save_checkpoint(folder / "last.safetensors", build(seed=2), {})
    save_checkpoint(folder / "best.safetensors", trained, {})
    return folder


def plain_file(model: Classifier, path: Path) -> Path:
    """Write the weights under the names of the network alone, as timm and torchvision do."""
    save_file({name: value.contiguous() for name, value in model.network.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("source", [lambda folder: folder, lambda folder: folder / "best.safetensors", str])
def test_the_best_weights_of_a_training_are_taken(
    trained: Classifier, checkpoint: Path, source: Callable[[Path], Path]
) -> None:
    model = build()
    assert not torch.equal(answers(model), answers(trained))
    load_pretrained(model, source(checkpoint))
    assert torch.equal(answers(model), answers(trained))


def test_a_file_with_the_names_of_another_library_fits(trained: Classifier, tmp_path: Path) -> None:
    model = build()
    load_pretrained(model, plain_file(trained, tmp_path / "model.safetensors"))
    assert torch.equal(answers(model), answers(trained))
    load_pretrained(again := build(seed=3), tmp_path)  # the only file of its folder
    assert torch.equal(answers(again), answers(trained))


def test_torchvisions_weights_fit_timms_resnet_without_counts_of_batches(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(1)
    theirs = resnet18(num_classes=4).eval()
    weights = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name}
    save_file(weights, tmp_path / "resnet18.safetensors")
    ours = create_model("resnet18", num_classes=4, image_size=32, mean=(0,) * 3, std=(1,) * 3).eval()
    load_pretrained(ours, tmp_path / "resnet18.safetensors")
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("arch", ["resnet8", "test_efficientnet", "mlp-2-8"])
def test_plain_batch_norms_go_into_both_branches_of_a_mixture(arch: str, tmp_path: Path) -> None:
    plain, mixture = build(arch, seed=1), build(arch, normaliser="mbn")
    plain.train()(IMAGES)
    load_pretrained(mixture, plain_file(plain.eval(), tmp_path / "plain.safetensors"))
    assert sum(isinstance(module, MixtureBatchNorm) for module in mixture.modules()) > 1
    for name in ("clean", "adversarial"):
        with branch(mixture, name):  # type: ignore[arg-type]
            assert torch.allclose(answers(mixture), answers(plain), atol=1e-6)


def test_a_new_head_stays_as_it_is_and_everything_else_is_loaded(trained: Classifier, checkpoint: Path) -> None:
    model = build(num_classes=7)
    head = model.network.get_classifier().weight.clone()  # type: ignore[operator]
    load_pretrained(model, checkpoint, new_head=True)
    assert torch.equal(model.network.get_classifier().weight, head)  # type: ignore[operator]
    there = trained.network.state_dict()
    mine = {name: value for name, value in model.network.state_dict().items() if not name.startswith("fc.")}
    assert len(mine) == len(there) - 2
    assert all(torch.equal(value, there[name]) for name, value in mine.items())


def test_the_input_normaliser_stays_that_of_the_model(checkpoint: Path) -> None:
    model = build(mean=(0.1,), std=(0.7,))
    load_pretrained(model, checkpoint)
    assert (model.mean.item(), model.std.item()) == (pytest.approx(0.1), pytest.approx(0.7))


def test_a_layer_that_is_absent_is_named(trained: Classifier, tmp_path: Path) -> None:
    file = plain_file(trained, tmp_path / "weights.safetensors")
    save_file({name: value for name, value in load_file(file).items() if name != "stages.1.conv2.weight"}, file)
    with pytest.raises(UserError, match=r"does not fit resnet8 .*'stages.1.conv2.weight' of the model is not in the"):
        load_pretrained(build(), file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_classes": 5},
            r"other classes: 'fc.weight' has shape \(3, 64\) in the file and \(5, 64\) in the model; set",
        ),
        ({"arch": "resnet14"}, r"'stages.3.conv1.weight' of the model is not .*; set model.arch to .resnet8., as"),
        ({"normaliser": "nf"}, r"'conv1.bias' of the model is not in the file; set model.normaliser to .bn., as"),
        (
            {"normaliser": "gn"},
            r"'bn1.num_batches_tracked' in the file is not in the model; set model.normaliser to .bn., as",
        ),
        ({"affine": False}, r"'bn1.bias' in the file is not in the model; set model.affine to true"),
        (
            {"channels": 3},
            r"'conv1.weight' has shape \(16, 1, 3, 3\) in the file and .*; prepare images .* of 1 channels and 16 x 16",
        ),
    ],
)
def test_weights_of_another_network_are_refused_and_leave_the_model_alone(
    checkpoint: Path, settings: dict[str, object], message: str
) -> None:
    model = build(**settings)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        load_pretrained(model, checkpoint)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "pytorch_model.bin", "last.ckpt", "model.pth.tar"])
def test_a_pickle_is_refused_unread_with_how_to_convert_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a pickle.*convert it .*save_file\(torch.load\('.*', weights_only=True\)"):
        load_pretrained(build(), tmp_path / name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "best.safetensors").write_bytes(b"x"), "is damaged"),
        (
            lambda folder: (folder / "best.json").unlink() or (folder / "best.safetensors").write_bytes(b"x"),
            "be read as",
        ),
        (
            lambda folder: (folder / "best.safetensors").rename(folder / "1.safetensors"),
            "no best.safetensors and 2 other",
        ),
        (lambda folder: [file.unlink() for file in folder.iterdir()], "holds no best.safetensors and 0 other"),
        (lambda folder: [file.unlink() for file in folder.iterdir()] and folder.rmdir(), "is missing: name a .safet"),
    ],
)
def test_unreadable_weights_are_refused_in_one_sentence(
    checkpoint: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(checkpoint)
    with pytest.raises(UserError, match=message):
        load_pretrained(build(), checkpoint)
