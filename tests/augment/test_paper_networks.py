from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nofrost.augment.base import ImageBlock
from nofrost.augment.deepaugment import cae_distortions, edsr_distortions, training
from nofrost.augment.deepaugment.cae import Cae, CaeSpec
from nofrost.augment.deepaugment.edsr import Edsr, EdsrSpec
from nofrost.augment.deepaugment.image_draws import ImageDraws
from nofrost.augment.deepaugment.networks import Network, load_network, new_network, save_network
from nofrost.augment.deepaugment.paper_networks import distorted, paper_networks_augment
from nofrost.augment.deepaugment.training import NetworkTraining, reconstruction
from nofrost.augment.originals import Originals
from nofrost.errors import UserError

CPU = torch.device("cpu")
SPECS: tuple[EdsrSpec | CaeSpec, ...] = (EdsrSpec(channels=3, width=8), CaeSpec(channels=3, width=16))
SIZES = [(4, 4), (8, 8), (9, 7), (5, 12), (33, 20)]


def drawn(spec: EdsrSpec | CaeSpec) -> Any:
    return new_network(spec, torch.Generator().manual_seed(0)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def edsr() -> Edsr:
    network = drawn(EdsrSpec(channels=3, width=8))
    assert isinstance(network, Edsr)
    return network


@pytest.fixture(scope="module")
def cae() -> Cae:
    network = drawn(CaeSpec(channels=3, width=64))
    assert isinstance(network, Cae)
    return network


def image(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.architecture))
@pytest.mark.parametrize("channels", [1, 3])
def test_the_output_has_the_size_of_the_input(spec: EdsrSpec | CaeSpec, channels: int, size: tuple[int, int]) -> None:
    network = drawn(spec.model_copy(update={"channels": channels}))
    assert network(image(*size)[:, :channels]).shape == (1, channels, *size)


def test_edsr_sees_a_quarter_of_the_height_and_width(edsr: Edsr) -> None:
    """Two images that are equal when reduced by four give equal outputs."""
    tiles = image(4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    checks = torch.ones(1, 1, 16, 16)
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = -1
    reduced = torch.nn.functional.interpolate(tiles, scale_factor=0.25, mode="bilinear", antialias=True)
    other = torch.nn.functional.interpolate(tiles + 0.01 * checks, scale_factor=0.25, mode="bilinear", antialias=True)
    inner = (slice(None), slice(None), slice(1, 3), slice(1, 3))
    torch.testing.assert_close(reduced[inner], other[inner], atol=1e-6, rtol=0)
    assert edsr(tiles).shape == tiles.shape


def test_the_code_of_the_auto_encoder_is_binary_and_a_quarter_in_height_and_width(cae: Cae) -> None:
    seen: list[Tensor] = []

    def note(bits: Tensor) -> Tensor:
        seen.append(bits)
        return bits

    cae(image(24, 40), bits=note)
    assert seen[0].shape == (1, *cae.code_shape(24, 40)) == (1, 32, 6, 10)
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0}


def test_thresholds_round_the_code_up_as_often_as_its_value_says(cae: Cae) -> None:
    seen: list[Tensor] = []
    values = torch.full((1, 32, 16, 16), 0.5)  # of the code in (-1, 1): 3/4 of its bits are 1
    thresholds = torch.rand(values.shape, generator=torch.Generator().manual_seed(0))
    cae(image(64, 64), code=lambda code: values, bits=lambda bits: seen.append(bits) or bits, thresholds=thresholds)
    assert float(seen[0].mean()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("distortion", edsr_distortions.WEIGHT_DISTORTIONS, ids=lambda each: each.__name__)
def test_a_distortion_of_edsr_changes_copies_of_weights_alone(distortion: Callable[..., None], edsr: Edsr) -> None:
    before = {name: values.clone() for name, values in edsr.state_dict().items()}
    layers = edsr_distortions.EdsrLayers(edsr)
    distortion(layers, ImageDraws(1))
    assert layers.changed
    for name, values in layers.changed.items():
        assert values.shape == before[name].shape
        assert values.isfinite().all()
    assert any(not torch.equal(values, before[name]) for name, values in layers.changed.items())
    assert all(torch.equal(values, before[name]) for name, values in edsr.state_dict().items())


@pytest.mark.parametrize("distortion", cae_distortions.WEIGHT_DISTORTIONS, ids=lambda each: each.__name__)
def test_a_distortion_of_the_auto_encoder_changes_copies_of_weights_alone(
    distortion: Callable[..., None], cae: Cae
) -> None:
    before = {name: values.clone() for name, values in cae.state_dict().items()}
    changed: set[str] = set()
    for seed in range(20):
        layers = cae_distortions.CaeLayers(cae)
        distortion(layers, ImageDraws(seed))
        assert all(values.shape == before[name].shape for name, values in layers.changed.items())
        changed |= {name for name, values in layers.changed.items() if not torch.equal(values, before[name])}
    assert changed
    assert all(torch.equal(values, before[name]) for name, values in cae.state_dict().items())
    # between the code and the output: neither the encoder nor the last layers
    late = {"code", "decode", "decoder"}
    assert {name.partition(".")[0] for name in changed} <= late


EXPECTED = {
    "drop_places": lambda code, made: ((made == 0) | (made == code)).all(),
    "negate_places": lambda code, made: (made.abs() == code.abs()).all(),
    "permute_channels": lambda code, made: torch.equal(made[:, 10:], code[:, 10:]),
    "mirror_channels": lambda code, made: torch.equal(made.flatten(2).sort().values, code.flatten(2).sort().values),
    "mirror_code": lambda code, made: torch.equal(made.flatten(2).sort().values, code.flatten(2).sort().values),
    "convolve_with_noise": lambda code, made: (made - code).abs().mean() < 1,
    "add_neighbours": lambda code, made: (made == code).flatten(2).all(2).float().mean() > 0.2,
    "shift_channels": lambda code, made: (made != code).any(),
}


@pytest.mark.parametrize("distortion", cae_distortions.CODE_DISTORTIONS, ids=lambda each: each.__name__)
def test_a_distortion_of_the_code_does_what_its_name_says(distortion: Callable[..., Tensor]) -> None:
    code = torch.rand(1, 32, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    before = code.clone()
    made = distortion(code, ImageDraws(2))
    assert torch.equal(code, before)
    assert made.shape == code.shape
    assert not torch.equal(made, code)
    assert bool(EXPECTED[distortion.__name__](code, made))


def test_features_of_edsr_are_distorted_in_every_way_that_the_paper_has(edsr: Edsr) -> None:
    arguments = [edsr_distortions.distorted_features(edsr, ImageDraws(seed)) for seed in range(200)]
    shares = {key: np.mean([key in each for each in arguments]) for key in ("head", "middle", "skipped")}
    assert shares == {
        "head": pytest.approx(0.75, abs=0.1),
        "middle": pytest.approx(0.6, abs=0.1),
        "skipped": pytest.approx(0.2, abs=0.1),
    }
    skipped = {number for each in arguments for number in each.get("skipped", ())}
    assert skipped == set(range(2, 17))


def test_skipping_all_of_the_body_leaves_the_skip_connection(edsr: Edsr) -> None:
    everything = edsr(image(16, 16), skipped=range(17))
    assert not torch.equal(everything, edsr(image(16, 16)))
    torch.testing.assert_close(everything, edsr(image(16, 16), head=lambda x: x, skipped=range(17)))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.architecture))
def test_a_distorted_image_depends_on_its_draws_alone_and_differs_from_the_plain_one(spec: EdsrSpec | CaeSpec) -> None:
    network = drawn(spec)
    plain = network(image(16, 16))
    first, again, other = (distorted(network, image(16, 16), ImageDraws(seed)) for seed in (3, 3, 4))
    assert first.shape == plain.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain)


def test_each_image_of_a_mixed_set_is_made_by_one_of_the_networks_whatever_the_block() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    networks: dict[str, Network] = {spec.architecture: drawn(spec) for spec in SPECS}
    make = paper_networks_augment(networks, 0, CPU)
    whole, values = make(ImageBlock(0, 0, images))
    later, _ = make(ImageBlock(1, 5, images[5:]))
    np.testing.assert_array_equal(np.stack(list(whole))[5:], np.stack(list(later)))
    assert 0 <= values["unlike"] <= 12
    alone = [paper_networks_augment({name: network}, 0, CPU) for name, network in networks.items()]
    assert len({np.stack(list(each(ImageBlock(0, 0, images))[0])).tobytes() for each in (make, *alone)}) == 3


def smooth_images(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)
    return (images.permute(0, 2, 3, 1) * 255).to(torch.uint8).numpy()


def train(spec: EdsrSpec | CaeSpec, steps: int, saved: Path) -> Network:
    settings = NetworkTraining("deepaugment-x", steps, batch_size=4, patch=16, lr=4e-3)
    return settings.network(Originals(smooth_images(16)), spec, 0, CPU, saved)


@pytest.mark.parametrize("spec", [EdsrSpec(channels=3, width=8, blocks=6), CaeSpec(channels=3, width=8)])
def test_training_teaches_a_network_to_give_back_images(spec: EdsrSpec | CaeSpec, tmp_path: Path) -> None:
    originals = Originals(smooth_images(16))
    few, more = (reconstruction(train(spec, steps, tmp_path / "s"), originals, CPU) for steps in (1, 60))
    assert few.psnr + 2 < more.psnr
    assert more.unexplained < few.unexplained


@pytest.mark.parametrize("spec", [EdsrSpec(channels=3, width=4, blocks=6), CaeSpec(channels=3, width=8)])
def test_a_training_that_was_killed_ends_with_the_same_bits(
    spec: EdsrSpec | CaeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(spec, 6, tmp_path / "whole")
    saved = tmp_path / "killed" / "state.safetensors"
    monkeypatch.setattr(training, "save_interval_s", lambda: 0.0)
    update, calls = training._update, iter(range(100))

    def killed(*arguments: Any) -> Tensor:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(training, "_update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(spec, 6, saved)
    assert saved.exists()
    again = train(spec, 6, saved)
    assert next(calls) == 7, "it went on after the fourth step"
    assert not saved.exists()
    for (name, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.architecture))
def test_a_network_survives_the_way_to_disk_and_back(spec: EdsrSpec | CaeSpec, tmp_path: Path) -> None:
    network = drawn(spec)
    save_network(network, tmp_path / "network.safetensors")
    loaded = load_network(tmp_path / "network.safetensors")
    assert loaded.spec == spec
    assert torch.equal(loaded.eval()(image(16, 16)), network(image(16, 16)))


def test_weights_of_the_other_architecture_are_refused(tmp_path: Path) -> None:
    save_network(drawn(SPECS[0]), tmp_path / "edsr.safetensors")
    save_network(drawn(SPECS[1]), tmp_path / "cae.safetensors")
    (tmp_path / "edsr.json").write_bytes((tmp_path / "cae.json").read_bytes())
    with pytest.raises(UserError, match=r"edsr\.safetensors does not fit edsr\.json"):
        load_network(tmp_path / "edsr.safetensors")
