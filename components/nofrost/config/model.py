"""Model: architecture, normaliser and where its first weights come from."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from nofrost.config.base import LaterKeys, OmitEmpty, Settings
from nofrost.errors import shortened

Normaliser = Literal["bn", "mbn", "gn", "in", "ln", "nf", "fixup", "none"]
Activation = Literal["relu", "silu", "gelu", "softplus"]
Arch = Annotated[str, Field(min_length=1, max_length=100)]
MixtureInference = Literal["logits", "all", "random"]


def _known_statistics(value: Any) -> Any:
    if value in ("process", "all") or (isinstance(value, int) and value >= 2):
        return value
    raise ValueError(f"{shortened(value)} is none of process, all and a number of images from 2 on")


Statistics = Annotated[Literal["process", "all"] | int, BeforeValidator(_known_statistics)]


class Architecture(LaterKeys, Settings):
    """An architecture and its settings, which a recipe, a checkpoint and `create_model` share.

    Attributes:
        arch: a name that `nofrost models list` prints (docs/models.md), or any name of timm.
        normaliser: ``bn``, ``mbn`` (mixture), ``gn``, ``in``, ``ln``, ``nf`` (normaliser-free network), ``fixup`` or
            ``none``.
        activation: of our own residual networks; None keeps the architecture's own, which is ``relu`` in these. Smooth
            ones make adversarial training stronger (Xie et al. 2020, arXiv 2006.14536; Gowal et al. 2020 §4.4).
        affine: whether normalisers have a learnt scale and shift.
        normaliser_eps: the constant in their denominator (galloway2019: c); None keeps the architecture's own.
        groups: of channels, for ``gn``.
        dropout: share of features dropped before the last layer, in training.
        drop_path: share of residual branches dropped at the last block, in training; grows linearly with depth.
        mixture_weight: γ in [0, 1], the share of the adversarial branch in a deployed mixture-BN model.
        mixture_inference: where that model mixes its branches (wang2022 App. A): in the ``logits``, in ``all`` its
            layers, or in a ``random`` share of them.
        mixture_share: share of the layers that mix, for ``random``.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("activation",)

    arch: Arch
    normaliser: Normaliser
    activation: Activation | None = None
    affine: bool = True
    normaliser_eps: float | None = Field(default=None, gt=0)
    groups: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    mixture_weight: float = Field(default=0.5, ge=0, le=1)
    mixture_inference: MixtureInference = "logits"
    mixture_share: float = Field(default=0.5, ge=0, le=1)


class ModelSpec(Architecture, OmitEmpty):
    """The model of a recipe: an architecture and its first weights.

    Attributes:
        weights: pre-trained ones: a file, a folder of `nofrost train`, or a ref; None draws them at random.
        new_head: whether the last layer starts anew, for other classes.
        batch_statistics: the images whose mean and variance a batch norm normalises with in training: those that its
            process has at once, its micro-batch (``process``), those of all processes (``all``, SyncBatchNorm), or
            groups of this many neighbouring images of a batch (ghost batch norm, Hoffer et al. 2017).
        batch_norm_momentum: share of the latest batch in the running statistics; 1 takes those of the last batch alone,
            which are exact where a batch has all images. None keeps the architecture's own, mostly 0.1.
        initial: whether the last layer is drawn at ``random`` or starts at ``zeros``, which makes a linear classifier
            the function of what it has learnt alone.
        input_statistics: mean and deviation that images are normalised with: those of the ``dataset``, or of the
            ``weights``, as published networks need them.
    """

    later_keys: ClassVar[tuple[str, ...]] = (*Architecture.later_keys, "initial", "input_statistics")

    arch: Arch = "resnet26"
    normaliser: Normaliser = "bn"
    weights: str | None = None
    new_head: bool = False
    batch_statistics: Statistics = "process"
    batch_norm_momentum: float | None = Field(default=None, gt=0, le=1)
    initial: Literal["random", "zeros"] = "random"
    input_statistics: Literal["dataset", "weights"] = "dataset"
