"""Published weights of ImageNet classifiers as checkpoints of ours: torchvision's VGG and ResNet, BagNet.

galloway2019 evaluates them (Table 5). Names of weights differ; the networks are the same.
"""

import re
from pathlib import Path

from torch import Tensor

from nofrost.errors import UserError, shortened
from nofrost.models.checkpoint import save_checkpoint
from nofrost.models.classifier import Classifier
from nofrost.models.create import create_model
from nofrost.models.torch_files import read_state_dict
from nofrost.models.weights import Stored, check_finite

# Of the pixels that these networks were trained on, as torchvision publishes them.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SIZE = 224
# timm's VGG has convolutions for torchvision's linear layers, so that it takes images of other sizes.
_VGG_LAYERS = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
_VGG_GRID = 7  # places to a side that the first of them looks at
_HEADS = ("fc.weight", "head.fc.weight")
_COUNTER = "num_batches_tracked"  # which files of older versions of torch lack

_TORCHVISION = "https://download.pytorch.org/models"
_BAGNET = (
    "https://bitbucket.org/wielandbrendel/bag-of-feature-pretrained-models/raw/249e8fa82c0913623a807d9d35eeab9da7dcc2a8"
)
PUBLISHED = {
    "vgg11": f"{_TORCHVISION}/vgg11-8a719046.pth",
    "vgg11_bn": f"{_TORCHVISION}/vgg11_bn-6002323d.pth",
    "vgg13": f"{_TORCHVISION}/vgg13-19584684.pth",
    "vgg13_bn": f"{_TORCHVISION}/vgg13_bn-abd245e5.pth",
    "vgg16": f"{_TORCHVISION}/vgg16-397923af.pth",
    "vgg16_bn": f"{_TORCHVISION}/vgg16_bn-6c64b313.pth",
    "vgg19": f"{_TORCHVISION}/vgg19-dcbb9e9d.pth",
    "vgg19_bn": f"{_TORCHVISION}/vgg19_bn-c79401a0.pth",
    "bagnet9": f"{_BAGNET}/bagnet8-34f4ccd2.pth.tar",
    "bagnet17": f"{_BAGNET}/bagnet16-105524de.pth.tar",
    "bagnet33": f"{_BAGNET}/bagnet32-2ddd53ed.pth.tar",
}
"""Where the weights of galloway2019 table 5 are, by architecture; a name ends in the first digits of its SHA-256."""


def check_published(weights: Path, arch: str) -> None:
    """Check that weights are there where a published file has them.

    Raises:
        UserError: they are not; the message says where the file is and how it becomes a checkpoint.
    """
    if weights.exists() or (url := PUBLISHED.get(arch)) is None:
        return
    name = url.rpartition("/")[2]
    digits = name.partition(".")[0].rpartition("-")[2]
    raise UserError(
        f"{weights} does not exist: download {url} (its SHA-256 begins with {digits}) and run `nofrost models convert "
        f"{name} --arch {arch} --out {weights}`, or train other recipes (runs.recipe)"
    )


def convert(file: Path, arch: str, out: Path, image_size: int = IMAGE_SIZE) -> Classifier:
    """Write the weights in a published file to a checkpoint, and return its model.

    Args:
        file: a state_dict in one of torch's files: of torchvision's ``vgg*`` (with and without batch norm) and
            ``resnet*``, whose names are also timm's, or of BagNet's authors. Only tensors are read from it.
        arch: such as ``vgg16_bn``, ``resnet50`` or ``bagnet17``.
        out: ``....safetensors``; its ``.json`` is written beside it.
        image_size: in pixels, of what the checkpoint is for.

    Raises:
        UserError: the file cannot be read, or a tensor is missing, left over, of another shape or not finite.
    """
    weights = renamed(read_state_dict(file), arch)
    head = next((weights[name] for name in _HEADS if name in weights), None)
    first = next((tensor for tensor in weights.values() if tensor.ndim == 4), None)
    if head is None or first is None or first.shape[1] != len(MEAN):
        raise UserError(
            f"{file} holds no classifier of colour images whose last layer is {' or '.join(_HEADS)}: choose the file "
            f"of arch {arch}"
        )
    normaliser = "bn" if any(name.endswith(".running_mean") for name in weights) else "none"
    model = create_model(
        arch, normaliser=normaliser, num_classes=len(head), image_size=image_size, channels=3, mean=MEAN, std=STD
    )
    expected = model.network.state_dict()
    weights |= {name: expected[name] for name in expected if name.endswith(_COUNTER) and name not in weights}
    _check_fit(file, arch, weights, expected)
    check_finite(file, weights, (name for name, _ in model.network.named_parameters()))
    model.network.load_state_dict(weights)
    save_checkpoint(out, model.eval(), {"published_as": file.name})
    return model


def renamed(weights: dict[str, Tensor], arch: str) -> dict[str, Tensor]:
    """Return published weights by the names, and in the shapes, of the network `arch`; unknown ones keep theirs."""
    if arch.startswith("bagnet"):
        return {re.sub(r"\.downsample\.", ".shortcut.", name): tensor for name, tensor in weights.items()}
    if arch.startswith("vgg"):
        return dict(_of_vgg(name, tensor) for name, tensor in weights.items())
    return weights


def _of_vgg(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    layer, _, kind = name.rpartition(".")
    ours = _VGG_LAYERS.get(layer, layer)
    if kind == "weight" and tensor.ndim == 2 and ours.startswith("pre_logits"):
        grid = _VGG_GRID if ours.endswith("fc1") else 1
        if tensor.shape[1] % grid**2 == 0:
            tensor = tensor.reshape(len(tensor), -1, grid, grid)
    return f"{ours}.{kind}", tensor


def _check_fit(file: Path, arch: str, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in expected:
        if name not in weights:
            raise UserError(f"{file} is not of arch {arch}: {shortened(name)} is missing from it")
    for name in weights:
        if name not in expected:
            raise UserError(f"{file} is not of arch {arch}, which has no {shortened(name)}")
    for name, tensor in expected.items():
        if difference := Stored.of(weights[name]).difference(Stored.of(tensor)):
            raise UserError(f"{file} is not of arch {arch}: {shortened(name)} {difference}")
