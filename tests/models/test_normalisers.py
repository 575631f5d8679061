"""Every normaliser in the place of batch norm, in networks of ours, of timm and without maps."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nofrost.errors import UserError
from nofrost.models import MixtureBatchNorm
from nofrost.models.architectures.small_resnet import SmallResNet
from nofrost.models.layers import ExchangeableBatchNorm
from nofrost.models.mixture import Selector
from nofrost.models.normalisers import check_maps, replace_batch_norm

EXCHANGED = ["mbn", "gn", "in", "ln", "none"]


def small() -> nn.Module:
    return SmallResNet(1, 3, 4, free=False, dropout=0, drop_path=0)


def of_timm() -> nn.Module:
    import timm

    network: nn.Module = timm.create_model("resnet18", num_classes=4)
    return network


def perceptron() -> nn.Module:
    layers = [nn.Linear(3 * 64 * 64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 24), nn.BatchNorm1d(24)]
    return nn.Sequential(nn.Flatten(), *layers, nn.ReLU(), nn.Linear(24, 4))


def batch_norms(network: nn.Module) -> list[nn.Module]:
    inside = {b for m in network.modules() if isinstance(m, MixtureBatchNorm) for b in (m.clean, m.adversarial)}
    return [m for m in network.modules() if isinstance(m, ExchangeableBatchNorm) and m not in inside]


def exchange(network: nn.Module, normaliser: str, **settings: object) -> nn.Module:
    selector = Selector(0.5)
    replace_batch_norm(network, normaliser, selector, **settings)  # type: ignore[arg-type]
    selector.choose("clean")
    return network


@pytest.mark.parametrize("normaliser", EXCHANGED)
@pytest.mark.parametrize("build", [small, of_timm, perceptron])
def test_a_normaliser_takes_the_place_of_every_batch_norm_and_nothing_else(
    build: Callable[[], nn.Module], normaliser: str
) -> None:
    before = build()
    names = {name for name, module in before.named_modules() if isinstance(module, ExchangeableBatchNorm)}
    network = exchange(copy.deepcopy(before), normaliser)
    assert batch_norms(network) == []
    for name, parameter in before.named_parameters():
        layer, _, kind = name.rpartition(".")
        if layer not in names:
            assert torch.equal(network.get_parameter(name), parameter)
        elif normaliser == "mbn":
            assert torch.equal(network.get_parameter(f"{layer}.adversarial.{kind}"), parameter)
        elif normaliser != "none":
            assert torch.equal(network.get_parameter(name), parameter)
    if not (normaliser == "in" and build is perceptron):  # single values: refused by check_maps
        answers = network(torch.rand(3, 3, 64, 64))
        assert answers.shape == (3, 4)
        assert answers.isfinite().all()


def standardised(features: Tensor, shape: tuple[int, ...], dims: tuple[int, ...], eps: float) -> Tensor:
    values = features.reshape(shape)
    deviation = values - values.mean(dims, keepdim=True)
    return (deviation / (deviation.square().mean(dims, keepdim=True) + eps).sqrt()).reshape(features.shape)


FORMULAS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "bn": lambda x, eps: standardised(x, x.shape, (0, 2, 3), eps),
    "mbn": lambda x, eps: standardised(x, x.shape, (0, 2, 3), eps),
    "gn": lambda x, eps: standardised(x, (len(x), 4, 6, *x.shape[2:]), (2, 3, 4), eps),
    "in": lambda x, eps: standardised(x, x.shape, (2, 3), eps),
    "ln": lambda x, eps: standardised(x, x.shape, (1, 2, 3), eps),
    "none": lambda x, eps: x,
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [None, 1e-3, 1.0, 30.0])
@pytest.mark.parametrize("normaliser", FORMULAS)
def test_a_normaliser_computes_its_formula_with_the_constant_that_was_asked_for(
    normaliser: str, eps: float | None, affine: bool
) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(24, eps=2e-5)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias)
    gain, shift = norm.weight.detach().double().view(-1, 1, 1), norm.bias.detach().double().view(-1, 1, 1)
    network = exchange(nn.Sequential(norm), normaliser, affine=affine, eps=eps, groups=4).double()
    features = 3 * torch.randn(5, 24, 4, 6, dtype=torch.float64) + 1
    expected = FORMULAS[normaliser](features, 2e-5 if eps is None else eps)
    if affine and normaliser != "none":
        expected = gain * expected + shift
    torch.testing.assert_close(network(features), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("normaliser", ["bn", *EXCHANGED])
@pytest.mark.parametrize("build", [small, of_timm, perceptron])
def test_without_affine_no_normaliser_has_a_gain_or_a_shift(build: Callable[[], nn.Module], normaliser: str) -> None:
    own = build()
    layers = {name for name, module in own.named_modules() if isinstance(module, ExchangeableBatchNorm)}
    expected = {name for name, _ in own.named_parameters() if name.rpartition(".")[0] not in layers}
    network = exchange(own, normaliser, affine=False)
    assert {name for name, _ in network.named_parameters()} == expected


def test_the_constant_of_a_batch_norm_takes_part_in_evaluation_too() -> None:
    norm = nn.BatchNorm1d(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 0.5])
    network = exchange(nn.Sequential(norm), "bn", eps=0.3).eval()
    vectors = torch.tensor([[0.2, 0.7]])
    expected = (vectors - norm.running_mean) / (norm.running_var + 0.3).sqrt()
    torch.testing.assert_close(network(vectors), expected)


def test_batch_norms_stay_the_same_objects_when_nothing_is_asked() -> None:
    network = small()
    before = batch_norms(network)
    assert batch_norms(exchange(network, "bn")) == before


@pytest.mark.parametrize(
    ("groups", "channels", "used"), [(32, 64, 32), (32, 16, 16), (32, 48, 16), (4, 6, 2), (1, 8, 1)]
)
def test_channels_that_are_no_multiple_of_the_groups_get_their_common_divisor(
    groups: int, channels: int, used: int
) -> None:
    network = exchange(nn.Sequential(nn.BatchNorm2d(channels)), "gn", groups=groups)
    assert network[0].num_groups == used  # type: ignore[index, union-attr]


def test_the_branches_of_a_mixture_start_from_the_statistics_of_the_batch_norm_and_part_from_it() -> None:
    network = small().train()
    network(torch.rand(4, 3, 16, 16))
    plain = copy.deepcopy(network).eval()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(exchange(network.eval(), "mbn")(images), plain(images))
    mixture = network.bn1
    assert mixture.clean.weight is not mixture.adversarial.weight  # type: ignore[union-attr]


def test_a_built_in_activation_stays_behind_the_new_normaliser() -> None:
    from timm.layers import BatchNormAct2d

    network = exchange(nn.Sequential(BatchNormAct2d(4, act_layer=nn.SiLU)), "ln")
    features = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(network(features), nn.functional.silu(nn.GroupNorm(1, 4)(features)))


@pytest.mark.parametrize("normaliser", ["mbn", "gn", "in", "ln"])
def test_a_network_without_batch_norm_is_refused_with_the_remedy(normaliser: str) -> None:
    with pytest.raises(UserError, match=rf"'{normaliser}'.*this network has none: choose .* resnet26"):
        exchange(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), normaliser)


@pytest.mark.parametrize(("settings", "name"), [({"affine": False}, "affine"), ({"eps": 1e-3}, "normaliser_eps")])
def test_settings_of_batch_norms_that_are_not_there_are_refused(settings: dict[str, object], name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is for batch norms and this network has none"):
        exchange(nn.Sequential(nn.Linear(3, 3)), "bn", **settings)


@pytest.mark.parametrize(
    ("build", "normaliser", "size", "words"),
    [
        (small, "in", 4, "instance norm stages.2.bn1 .* its map is 1 x 1 for images of 4 x 4 pixels: take larger"),
        (of_timm, "in", 32, "instance norm layer4.0.bn1 .* for images of 32 x 32 pixels"),
        (perceptron, "in", 64, "instance norm 2 .* in each of its 24 groups"),
        (perceptron, "gn", 64, "group norm 2 .* in each of its 24 groups.*fewer groups"),
    ],
)
def test_a_normaliser_of_single_values_is_refused_before_any_training(
    build: Callable[[], nn.Module], normaliser: str, size: int, words: str
) -> None:
    network = exchange(build(), normaliser, groups=24)
    with pytest.raises(UserError, match=words) as error:
        check_maps(network, (size, size), 3)
    assert "\n" not in str(error.value)
    assert all(module.training and not module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("normaliser", ["bn", *EXCHANGED])
def test_looking_at_the_maps_changes_nothing(normaliser: str) -> None:
    network = exchange(small(), normaliser)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    check_maps(network, (8, 16), 3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training and not module._forward_pre_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
