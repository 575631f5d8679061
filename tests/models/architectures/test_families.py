"""Every family of architectures: images go in, logits come out, gradients reach every weight, checkpoints come back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.models import Classifier, create_model, load_model, save_checkpoint
from nofrost.models.architectures import families, family_of, find_family, own_names

# Small members of every family with the size of their images; timm's families have others than those that are listed.
SMALL = {
    "resnet8": 16,
    "cifar-resnet18-w8": 16,
    "cifar-resnet50-w8": 16,
    "cifar-vgg8-w8": 32,
    "wrn-10-1": 16,
    "bagnet9-w8": 32,
    "mlp-2-64": 8,
    "mlp-2-half-bn1": 8,
    "linear": 8,
    "test_resnet": 64,
    "test_nfnet": 64,
}
CASES = [(arch, normaliser) for arch in SMALL for normaliser in family_of(arch).normalisers]


def build(arch: str, normaliser: str, **options: object) -> Classifier:
    torch.manual_seed(0)
    settings = {"num_classes": 5, "image_size": SMALL[arch], "channels": 2, **options}
    return create_model(arch, normaliser=normaliser, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("arch", "normaliser"), CASES)
def test_forward_and_backward_are_finite_and_reach_every_parameter(arch: str, normaliser: str) -> None:
    model = build(arch, normaliser)
    logits = model(torch.rand(4, 2, SMALL[arch], SMALL[arch]))
    assert logits.shape == (4, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no part in the answer"
        assert parameter.grad.isfinite().all(), name
    last = model.network.get_classifier()  # type: ignore[operator]
    assert isinstance(last, nn.Linear)
    assert last.out_features == 5


@pytest.mark.parametrize(("arch", "normaliser"), CASES)
def test_a_checkpoint_of_any_architecture_comes_back(arch: str, normaliser: str, tmp_path: Path) -> None:
    options = {"affine": False, "normaliser_eps": 0.1} if normaliser in ("bn", "mbn", "gn", "in", "ln") else {}
    model = build(arch, normaliser, **options)
    images = torch.rand(2, 2, SMALL[arch], SMALL[arch])
    save_checkpoint(tmp_path / "best.safetensors", model, {})
    loaded = load_model(tmp_path)
    assert loaded.signature == model.signature
    with torch.no_grad():
        assert torch.equal(loaded(images), model.eval()(images))


@pytest.mark.parametrize("arch", [arch for arch in SMALL if family_of(arch).drop_path])
def test_drop_path_grows_with_depth_up_to_its_rate(arch: str) -> None:
    model = build(arch, "nf" if arch == "test_nfnet" else "bn", drop_path=0.4)
    rates = [module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath" and module.drop_prob]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)


@pytest.mark.parametrize("arch", [arch for arch in SMALL if family_of(arch).dropout])
def test_dropout_makes_answers_random_in_training_alone(arch: str) -> None:
    model = build(arch, "nf" if arch == "test_nfnet" else "none", dropout=0.5)
    last = model.network.get_classifier()  # type: ignore[operator]
    nn.init.normal_(last.weight)
    images = torch.rand(2, 2, SMALL[arch], SMALL[arch])
    with torch.no_grad():
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("arch", "option"),
    [("linear", "dropout"), ("linear", "drop_path"), ("mlp-2-64", "drop_path"), ("cifar-vgg8-w8", "drop_path")],
)
def test_a_family_without_dropout_refuses_it(arch: str, option: str) -> None:
    with pytest.raises(UserError, match=f"has no {option}: set {option} to 0"):
        build(arch, "bn", **{option: 0.1})


@pytest.mark.parametrize(
    ("arch", "settings", "message"),
    [
        ("cifar-vgg8", {"image_size": 31}, "halves images five times and these have 31 x 31 pixels: take images of 32"),
        ("bagnet33", {"image_size": (40, 32)}, "patches of 33 pixels and these images have 40 x 32"),
        ("wrn-27-10", {}, "not 6n . 4: choose such as wrn-22-10 or wrn-28-10"),
        ("wrn-4-1", {}, "not 6n . 4: choose such as wrn-10-1"),
        (
            "nfnet_f0",
            {"normaliser": "mbn"},
            "'nfnet_f0' is normaliser-free and cannot have 'mbn': set normaliser to nf",
        ),
        ("nf_resnet26", {"normaliser": "bn"}, "'nf_resnet26' is normaliser-free and cannot have 'bn'"),
        ("resnet152", {"normaliser": "nf"}, "no normaliser-free form: choose one of .*resnet26"),
        ("resnet50", {"normaliser": "fixup"}, "no Fixup form: choose one of .*resnet110.*wrn-28-10"),
        ("mlp-2-64", {"normaliser": "in"}, "cannot have normaliser 'in': choose bn, mbn, gn, ln, none"),
        (
            "vit_tiny_patch16_224",
            {"normaliser": "mbn"},
            "'mbn' takes the place of batch norms and this network has none",
        ),
        ("resnet8", {"normaliser": "in", "image_size": 4}, "single value to normalise"),
        ("resnet8", {"normaliser": "fixup", "affine": False}, "affine is for normalisers"),
        ("resnet8", {"normaliser": "none", "normaliser_eps": 0.1}, "normaliser_eps is for normalisers"),
        ("cifar-resnet18-w", {}, "unknown arch 'cifar-resnet18-w': did you mean 'cifar-resnet18'"),
        ("cifar-vgg12", {}, "did you mean .*'cifar-vgg1"),
        ("resnett50", {}, "did you mean .*'resnet50'"),
    ],
)
def test_an_impossible_combination_is_refused_in_one_sentence(
    arch: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        create_model(arch, **{"num_classes": 10, "image_size": 32, **settings})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", own_names())
def test_a_listed_name_belongs_to_one_family(name: str) -> None:
    assert [family.title for family in families() if name in family] == [find_family(name).title]  # type: ignore[union-attr]


def test_networks_of_our_own_are_built_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # so that importing it fails
    assert "resnet638" in own_names()
    for arch in ("resnet8", "cifar-resnet18-w8", "cifar-vgg8-w8", "wrn-10-1", "bagnet9-w8", "mlp-2-64", "linear"):
        build(arch, "none")
