from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nofrost.augment.deepaugment.encoder_decoder import EncoderDecoderSpec, ReconstructionNetwork
from nofrost.augment.deepaugment.networks import load_network, new_network, save_network
from nofrost.augment.deepaugment.training import PATCH, reconstruction, train_small_network
from nofrost.augment.originals import Originals
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.models.device import single_thread

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = new_network(EncoderDecoderSpec(channels=1, width=4, blocks=2), torch.Generator().manual_seed(0))
    save_network(network, tmp_path / "network.safetensors")
    return tmp_path / "network.safetensors"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (9, 7), (7, 8)])
def test_the_output_has_the_shape_of_the_input(channels: int, size: tuple[int, int]) -> None:
    network = new_network(EncoderDecoderSpec(channels=channels, width=4), torch.Generator().manual_seed(0))
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    assert network(images).shape == images.shape


def test_no_skip_leads_around_the_features() -> None:
    """With the features silenced, nothing of the image is left in the output."""
    network = new_network(EncoderDecoderSpec(channels=1, width=4), torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(network.encode.weight)
    outputs = network(torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(outputs[0], outputs[1])


def test_a_new_network_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, second = (
        new_network(EncoderDecoderSpec(channels=1, width=4), torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(before, torch.get_rng_state())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_teaches_it_to_give_back_images(digits: Path) -> None:
    images = read_split(digits, "train").images
    settings = {"width": 16, "batch_size": 16, "lr": 0.01}
    networks = (train_small_network(Originals(images), 0, CPU, epochs=epochs, **settings) for epochs in (1, 10))  # type: ignore[arg-type]
    trained = [reconstruction(network, Originals(images), CPU).psnr for network in networks]
    assert trained[0] < trained[1]
    assert trained[1] > 20


@pytest.mark.parametrize("size", [(PATCH + 9, PATCH - 8), (PATCH - 7, PATCH + 1)])
def test_images_larger_than_a_patch_are_learnt_in_patches(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    network = train_small_network(Originals(images), 0, CPU, width=2, epochs=2, batch_size=2, lr=2e-3)
    assert network(torch.zeros(1, 3, *size)).shape == (1, 3, *size)


def test_a_network_survives_the_way_to_disk_and_back(saved: Path) -> None:
    network = load_network(saved)
    original = new_network(EncoderDecoderSpec(channels=1, width=4, blocks=2), torch.Generator().manual_seed(0))
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(images), original(images))


def test_a_missing_file_is_named(saved: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the weights .*gone\.safetensors"):
        load_network(saved.with_name("gone.safetensors"))
    saved.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"network\.json is missing"):
        load_network(saved)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_cut_off_file_is_named(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"network\.safetensors is cut off or not a safetensors file"):
        load_network(saved)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("width", 5, r"decode\.weight is float32 \(1, 4, 3, 3\), it must be float32 \(1, 5, 3, 3\)"),
        ("blocks", 3, r"first\.2\.bias is absent"),
        ("channels", 3, "does not fit network.json"),
        ("channels", 2, "channels"),
        ("architecture", "resnet", "architecture"),
        ("format", 2, "format"),
        ("depth", 2, "unknown key 'depth'"),
    ],
)
def test_weights_of_another_architecture_are_refused(saved: Path, key: str, value: object, message: str) -> None:
    sidecar = saved.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), key: value}))
    with pytest.raises(UserError, match=message):
        load_network(saved)


def test_weights_of_another_type_are_refused(saved: Path) -> None:
    save_file({name: values.half() for name, values in load_file(saved).items()}, saved)
    with pytest.raises(UserError, match=r"is float16 .* must be float32"):
        load_network(saved)


def test_weights_that_belong_nowhere_are_refused(saved: Path) -> None:
    save_file({**load_file(saved), "extra": torch.zeros(3)}, saved)
    with pytest.raises(UserError, match=r"extra is float32 \(3,\), it must be absent"):
        load_network(saved)


def test_the_number_of_threads_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with single_thread():
            raise RuntimeError(torch.get_num_threads())

    with pytest.raises(RuntimeError, match=r"^1$"):
        fail()
    assert torch.get_num_threads() == before


def test_the_specification_travels_with_the_network(saved: Path) -> None:
    assert isinstance(load_network(saved), ReconstructionNetwork)
    assert load_network(saved).spec == EncoderDecoderSpec(channels=1, width=4, blocks=2)
