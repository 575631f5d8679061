"""Partial training: what moves, what stays, what is reset."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.config import OptimiserSpec
from nofrost.errors import UserError
from nofrost.models import Classifier, branch, build, create_model
from nofrost.train.optimiser import create_optimiser
from nofrost.train.partial import Partial, training_mode

SGD = OptimiserSpec(lr=0.1, momentum=0.9, weight_decay=0.01, decay_gains=True, decay_biases=True)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def new_model(arch: str = "resnet8", normaliser: str = "bn") -> Classifier:
    """A model that has trained before: no parameter or statistic has the value that it was created with."""
    torch.manual_seed(0)
    model = create_model(arch, normaliser=normaliser, num_classes=4, image_size=16)
    train(model, Partial.of(model, "all", "none", 0), steps=2)
    return model


def loss_of(model: Classifier, images: Tensor) -> Tensor:
    """Cross-entropy of images [8, ...]: with a mixture, half of them pass as clean and half as adversarial."""
    loss = torch.zeros(())
    for half, label, name in zip(images.chunk(2), (0, 1), ("clean", "adversarial"), strict=True):
        with branch(model, name):
            loss = loss + F.cross_entropy(model(half), torch.full((4,), label))
    return loss


def train(model: Classifier, partial: Partial, steps: int = 3) -> None:
    optimiser = create_optimiser(model, SGD)
    generator = torch.Generator().manual_seed(0)
    training_mode(model)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(model, torch.rand(8, 3, 16, 16, generator=generator)).backward()
        optimiser.step()
        partial.keep(model)


def state(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def statistics(model: nn.Module) -> set[str]:
    return {name for name in model.state_dict() if name.endswith(STATISTICS)}


def of_norms(model: nn.Module) -> set[str]:
    return {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for name in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("arch", "trainable", "count"),
    [
        ("cifar-resnet18", "bn", 9_600),
        ("cifar-resnet18", "rest", 11_164_362),
        ("cifar-resnet18", "all", 11_173_962),
        ("cifar-resnet18", "two-per-channel", 9_600),
        ("cifar-resnet18", "bn-not-first", 9_472),
        ("cifar-resnet18", "bn-not-last", 8_576),
        ("cifar-resnet18", "layer:layer2.0.bn2", 256),
        ("cifar-resnet18", "layer:layer1.0.conv1", 36_864),
        ("cifar-resnet18", "layer:linear", 5_130),
        ("cifar-resnet50", "bn", 53_120),
        ("cifar-resnet50", "rest", 23_467_722),
        ("cifar-resnet152", "bn", 151_424),
        ("cifar-resnet152", "rest", 58_005_194),
    ],
)
def test_as_many_parameters_are_trainable_as_zeise2025_prints(arch: str, trainable: str, count: int) -> None:
    """zeise2025, Tables 1 to 4; without values, on the meta device."""
    with torch.device("meta"):
        model = create_model(arch, num_classes=10, image_size=32)
    assert Partial.of(model, trainable, "none", 0).trained == count


def test_resnet_18_has_the_41_layers_that_zeise2025_retrains_one_at_a_time() -> None:
    """zeise2025, Table 7."""
    with torch.device("meta"):
        model = create_model("cifar-resnet18", num_classes=10, image_size=32)
    layers = {name.rpartition(".")[0].removeprefix("network.") for name, _ in model.named_parameters()}
    counts = [Partial.of(model, f"layer:{layer}", "none", 0).trained for layer in layers]
    assert len(counts) == 41
    assert sum(counts) == 11_173_962


@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
@pytest.mark.parametrize("trainable", ["all", "bn", "rest", "bn-not-first", "bn-not-last"])
def test_only_what_is_trainable_and_batch_statistics_move(normaliser: str, trainable: str) -> None:
    model = new_model(normaliser=normaliser)
    before, norms = state(model), of_norms(model)
    every = {name for name, _ in model.named_parameters()}
    first = {name for name in norms if name.startswith("network.bn1.")}
    last = {name for name in norms if name.startswith("network.stages.2.shortcut.1.")}
    assert len(first) == len(last) == (4 if normaliser == "mbn" else 2)
    expected = {
        "all": every,
        "bn": norms,
        "rest": every - norms,
        "bn-not-first": norms - first,
        "bn-not-last": norms - last,
    }[trainable]
    partial = Partial.of(model, trainable, "none", 0)
    train(model, partial)
    assert moved(model, before) == expected | statistics(model)
    assert partial.trained == sum(model.get_parameter(name).numel() for name in expected)


@pytest.mark.parametrize("layer", ["conv1", "stages.1.bn2", "stages.1.shortcut.0", "fc", "stages.2"])
def test_retraining_a_single_layer_moves_that_layer_alone(layer: str) -> None:
    model = new_model()
    before = state(model)
    train(model, Partial.of(model, f"layer:{layer}", "none", 0))
    own = {name for name, _ in model.named_parameters() if name.startswith(f"network.{layer}.")}
    assert own
    assert moved(model, before) == own | statistics(model)


def test_gradients_of_an_earlier_phase_move_nothing() -> None:
    """Even an optimiser over all parameters, with momentum and weight decay, leaves alone what has no gradient."""
    model = new_model()
    train(model, Partial.of(model, "all", "none", 0), steps=1)
    assert all(parameter.grad is not None for parameter in model.parameters())
    before = state(model)
    Partial.of(model, "bn", "none", 0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(2):  # no gradient is set to zero in between
        loss_of(model, torch.rand(8, 3, 16, 16)).backward()
        optimiser.step()
    assert moved(model, before) == of_norms(model) | statistics(model)


@pytest.mark.parametrize("normaliser", ["bn", "nf"])
def test_two_weights_of_each_output_channel_move_and_the_others_stay_to_the_bit(normaliser: str) -> None:
    model = new_model(normaliser=normaliser)
    before = state(model)
    partial = Partial.of(model, "two-per-channel", "none", 7)
    train(model, partial)
    convolutions = {f"{p}.weight" for p, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert moved(model, before) == convolutions | statistics(model)
    for name in convolutions:
        changed = model.get_parameter(name).detach() != before[name]
        assert (changed.flatten(1).sum(1) == 2).all(), name
    assert partial.trained == 2 * sum(len(model.get_parameter(name)) for name in convolutions)


def test_the_weights_of_two_per_channel_are_a_function_of_the_seed_also_after_a_resume() -> None:
    model = new_model()
    first = Partial.of(model, "two-per-channel", "all", 1)
    train(model, first)
    saved = state(model)
    again = create_model("resnet8", num_classes=4, image_size=16)
    again.load_state_dict(saved)
    same, other = (Partial.of(again, "two-per-channel", "none", seed) for seed in (1, 2))
    for name, moves in first.entries.items():
        assert torch.equal(moves, same.entries[name])
        assert torch.equal(first.fixed[name][~moves], same.fixed[name][~moves])
    assert any(not torch.equal(moves, other.entries[name]) for name, moves in first.entries.items())


def test_the_weights_of_two_per_channel_are_chosen_evenly() -> None:
    model = create_model("cifar-resnet18-w16", num_classes=10, image_size=32)
    entries = Partial.of(model, "two-per-channel", "none", 0).entries["network.layer4.1.conv2.weight"]
    by_place = entries.sum((0, 1)).double()  # of the 3 x 3 places in a filter; 256 weights are expected in 9
    assert int(by_place.sum()) == 2 * 128
    assert float(((by_place - 256 / 9) ** 2 / (256 / 9)).sum()) < 26.1  # chi-squared, 8 degrees of freedom, 0.1 %


def assert_new(norm: nn.BatchNorm2d) -> None:
    assert torch.all(norm.weight == 1)
    assert torch.all(norm.bias == 0)
    assert_empty(norm)


def assert_empty(norm: nn.BatchNorm2d) -> None:
    assert torch.all(norm.running_mean == 0)
    assert torch.all(norm.running_var == 1)
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
def test_batch_norms_are_reset_to_scale_one_shift_zero_and_no_statistics(normaliser: str) -> None:
    model = new_model(normaliser=normaliser)
    before = state(model)
    Partial.of(model, "bn", "all", 0)
    assert moved(model, before) == of_norms(model) | statistics(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert_new(module)


def test_a_batch_norm_that_is_not_trainable_keeps_its_values_and_statistics() -> None:
    model = new_model()
    before = state(model)
    Partial.of(model, "bn-not-first", "all", 0)
    assert not {name for name in moved(model, before) if name.startswith("network.bn1.")}
    assert_new(model.get_submodule("network.stages.0.bn1"))


def test_statistics_alone_can_be_reset() -> None:
    model = new_model()
    before = state(model)
    Partial.of(model, "bn", "statistics", 0)
    assert moved(model, before) == statistics(model)
    assert_empty(model.get_submodule("network.stages.1.bn2"))


@pytest.mark.parametrize("trainable", ["rest", "layer:stages.1.conv2", "all"])
def test_other_layers_are_reset_as_in_a_new_network_of_that_seed(trainable: str) -> None:
    model = new_model()
    before = state(model)
    random_state = torch.get_rng_state()
    Partial.of(model, trainable, "all", 5)
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.manual_seed(5)
    new = build(model.signature)
    for name, parameter in model.named_parameters():
        kept = not parameter.requires_grad
        assert torch.equal(parameter, before[name] if kept else new.get_parameter(name)), name
    changed = moved(model, before)
    assert changed >= {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert (statistics(model) <= changed) == (trainable == "all")


def test_batch_norms_without_scale_and_shift_have_only_statistics_to_reset() -> None:
    model = create_model("resnet8", affine=False, num_classes=4, image_size=16)
    train(model, Partial.of(model, "all", "none", 0))
    with pytest.raises(UserError, match="choose a model with batch norms that have scales and shifts"):
        Partial.of(model, "bn", "all", 0)
    Partial.of(model, "layer:conv1", "all", 0)
    assert model.get_buffer("network.bn1.num_batches_tracked") == 6  # two passes a step
    Partial.of(model, "all", "all", 0)
    assert all(model.get_buffer(name) == 0 for name in statistics(model) if name.endswith("num_batches_tracked"))


def test_in_two_per_channel_only_the_trainable_weights_are_reset() -> None:
    model = new_model()
    before = state(model)
    partial = Partial.of(model, "two-per-channel", "all", 5)
    for name, moves in partial.entries.items():
        assert torch.equal(model.get_parameter(name) != before[name], moves)
        assert torch.equal(model.get_parameter(name).detach(), partial.fixed[name])


@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
def test_running_statistics_stay_while_scales_and_shifts_are_trained(normaliser: str) -> None:
    model = new_model(normaliser=normaliser)
    before = state(model)
    training_mode(model, running_statistics=True)
    with branch(model, "clean"):
        loss = F.cross_entropy(model(torch.rand(4, 3, 16, 16)), torch.arange(4))
    loss.backward()
    assert moved(model, before) == set()
    assert model.training
    assert model.network.training
    assert all(not m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    trained = {name for name in of_norms(model) if ".adversarial." not in name}
    assert all(model.get_parameter(name).grad is not None for name in trained)
    training_mode(model)
    assert all(module.training for module in model.modules())


def test_with_running_statistics_an_image_does_not_depend_on_its_batch() -> None:
    model, images = new_model(), torch.rand(4, 3, 16, 16)
    training_mode(model, running_statistics=True)
    assert torch.allclose(model(images)[:2], model(images[:2]), atol=1e-5)
    training_mode(model)
    assert not torch.allclose(model(images)[:2], model(images[:2]), atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "normaliser", "trainable", "reset", "message"),
    [
        ("resnet8", "nf", "bn", "none", "finds nothing in resnet8 with normaliser nf: choose a model with batch norms"),
        ("resnet8", "gn", "bn-not-first", "none", "'bn-not-first' finds nothing in resnet8 with normaliser gn"),
        ("mlp-2-384", "none", "two-per-channel", "none", "choose a model with convolutions"),
        ("linear", "bn", "bn-not-last", "none", "'bn-not-last' finds nothing in linear"),
        ("resnet8", "nf", "all", "statistics", "finds no batch norm in resnet8 with normaliser nf: set it to none"),
        ("resnet8", "bn", "layer:stages.1.cnv2", "none", r"no layer of this name; write one such as stages\.1\.conv2"),
        ("resnet8", "bn", "layer:zzz", "none", "write one such as conv1, bn1"),
    ],
)
def test_a_choice_that_matches_nothing_is_one_sentence(
    arch: str, normaliser: str, trainable: str, reset: str, message: str
) -> None:
    model = create_model(arch, normaliser=normaliser, num_classes=4, image_size=16)
    with pytest.raises(UserError, match=message):
        Partial.of(model, trainable, reset, 0)
