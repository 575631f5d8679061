"""Transfer of attacks: adversarial images of one model, classified by other models (Papernot et al. 2016)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.attacks import Attack
from nofrost.attacks.batch import check_budget
from nofrost.config.suite import BATCH_SIZE
from nofrost.errors import UserError
from nofrost.evaluate.measuring.attacking import Branch, EvaluatedModel
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import Sample, sample_of_tensors
from nofrost.evaluate.notices import notice_batch_effects
from nofrost.models.contents import model_sha256
from nofrost.models.device import model_device, usable_device
from nofrost.results import Proportion, TransferMetrics
from nofrost.statistics import Flags


@dataclass(frozen=True)
class TransferResult:
    """Which of N images each model still gets right, by the model that they were made against.

    Args:
        metrics: accuracies and the settings of the attack, as ``metrics.json`` of the stage holds them.
        names: of the M models. A mixture-BN model stands here as it is deployed and, as ``NAME-clean-branch`` and
            ``NAME-adversarial-branch``, once for each branch.
        clean: [M, N] whether each model is right on the clean images.
        flags: [M, M, N], by the model that the images were made against (source), then by the model that classifies
            them (target): whether the target is right on the clean image and on the one made of it. So an image that
            the target gets wrong when clean is wrong whatever was made of it; the diagonal is the attack without
            transfer.
    """

    metrics: TransferMetrics
    sample: Sample
    names: tuple[str, ...]
    clean: NDArray[np.bool_]
    flags: NDArray[np.bool_]

    @property
    def accuracy(self) -> dict[str, dict[str, Proportion]]:
        """Exact count and 95 % interval by source, then by target, over all N images."""
        return self.metrics.accuracy

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds: indices, labels, and every flag by source and target."""
        arrays: dict[str, NDArray[Any]] = {"indices": self.sample.indices, "labels": self.sample.labels}
        arrays |= {f"clean/{name}": flags for name, flags in zip(self.names, self.clean, strict=True)}
        for source, by_target in zip(self.names, self.flags, strict=True):
            arrays |= {f"{source}/{target}": flags for target, flags in zip(self.names, by_target, strict=True)}
        return arrays


def transfer(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    indices: Tensor | None = None,
    device: str | torch.device | None = None,
    batch_size: int = BATCH_SIZE,
    checkpoint_dir: str | Path | None = None,
    show_progress: bool = False,
) -> TransferResult:
    """Run an attack on every model, and let each classify the images that were made against the others.

    An attack that stops at the first point that fools its source (``early_stop=True``) stops just behind the source's
    boundary; with ``early_stop=False`` its images transfer better.

    Args:
        models: by name, mapping images to logits [N, K]. All are on the device at once.
        images: floats [N, C, H, W] in [0, 1], evaluated in float32.
        labels: N integers in [0, K).
        attack: such as of ``create_attack`` or ``WorstCase.of``.
        indices: N integers that name the images; they pick the attack's random numbers. Default: 0 to N - 1.
        device: where to compute; default: where the first model is.
        batch_size: how many images at once.
        checkpoint_dir: folder that keeps every finished batch, so that a killed call, made again, goes on from there.
        show_progress: whether to show on standard error how far each model is, and the time left.

    Raises:
        UserError: there is no model, or models, images, labels or device are not as described.
    """
    sample = sample_of_tensors(images, labels, indices, None)
    check_names(models)
    _check_arguments(models, attack, batch_size)
    target = model_device(next(iter(models.values()))) if device is None else usable_device(device)
    folder = None
    if checkpoint_dir is not None:
        weights = {name: model_sha256(model) for name, model in models.items()}
        depends_on = json.dumps([repr(attack), sample.sha256(), weights, batch_size])
        folder = Path(checkpoint_dir) / hashlib.sha256(depends_on.encode()).hexdigest()[:16]
    engine = Engine(sample, batch_size, target, MeasurementCache(folder))
    return measure_transfer(models, attack, engine, show_progress)


@dataclass(frozen=True)
class _TransferModel:
    """A model as deployed, or one branch of a mixture-BN model: the source of some images, and a target for all."""

    name: str
    number: int
    model: EvaluatedModel
    branch: Branch | None

    @property
    def clean(self) -> Measurement:
        """What the model predicts on clean images."""
        return replace(
            self.model.clean(self.branch), name=self._file("predictions"), title=f"clean images, {self.name}"
        )

    def against(self, targets: Sequence[_TransferModel], attack: Attack) -> Measurement:
        """Return the measurement of which target [targets] is right on each image made against this model."""

        def right(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
            with self.model.on(self.branch):
                try:
                    adversarial = attack(self.model.network, images, labels, indices=indices, batch_size=batch_size)
                except UserError as error:
                    raise UserError(f"model {self.name}: {error}") from None
            return torch.stack([target.is_right(adversarial, labels) for target in targets], dim=1)

        among = tuple(target.clean for target in targets)
        shape = (len(targets),)
        return Measurement(self._file("transfer"), f"made against {self.name}", right, shape=shape, among=among)

    def is_right(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.model.on(self.branch):
            return self.model.classify(images) == labels

    def _file(self, measured: str) -> str:
        # Files are named by the number of the model: its name may contain characters that a file name cannot.
        return f"{measured}-{self.number}" + ("" if self.branch is None else f"-{self.branch}-branch")


def measure_transfer(
    models: Mapping[str, nn.Module], attack: Attack, engine: Engine, show_progress: bool
) -> TransferResult:
    """Return the result of :func:`transfer`, resuming from the engine's cache.

    Raises:
        UserError: a model does not fit the images or labels, or cannot be attacked.
    """
    members = _transfer_models(models, engine)
    sources = [source.against(members, attack) for source in members]
    with engine.ready(*models.values()):
        # The branches of a mixture are the same model.
        for member in members:
            if member.branch is None:
                _check(member, engine, attack)
        engine.run(
            [*(member.clean for member in members), *sources], f"transfer of {attack.name}" if show_progress else None
        )
        for member in members:
            if member.branch is None:
                notice_batch_effects(engine, member.model, engine.values(member.clean), f"model {member.name}")
        clean = np.stack([engine.right(member.clean) for member in members])
        flags = np.stack([engine.values(source).T for source in sources])
    flags &= clean
    names = tuple(member.name for member in members)
    metrics = TransferMetrics(
        kind="transfer",
        attack={"name": attack.name, **_settings(attack)},
        samples=len(engine.sample),
        models=names,
        clean=_by_target(names, clean),
        accuracy={name: _by_target(names, right) for name, right in zip(names, flags, strict=True)},
        indices_sha256=engine.sample.indices_sha256(),
    )
    return TransferResult(metrics, engine.sample, names, clean, flags)


def _by_target(names: Sequence[str], flags: Iterable[Flags]) -> dict[str, Proportion]:
    return {name: Proportion.of_flags(right) for name, right in zip(names, flags, strict=True)}


def _transfer_models(models: Mapping[str, nn.Module], engine: Engine) -> list[_TransferModel]:
    members = []
    for number, (name, network) in enumerate(models.items()):
        model = EvaluatedModel(network, engine.sample.labels, engine.device)
        members.append(_TransferModel(name, number, model, None))
        members += [_TransferModel(f"{name}-{branch}-branch", number, model, branch) for branch in model.branches]
    names = [member.name for member in members]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise UserError(f"{duplicate!r} names two models, as a branch has a name too: choose another")
    return members


def _check(member: _TransferModel, engine: Engine, attack: Attack) -> None:
    try:
        member.model.check(engine.sample)
        images, _, _ = engine.sample.batch(np.zeros(1, dtype=np.int64), engine.device)
        attack.check_classes(member.model.classes(images))
        check_budget(attack.norm, attack.eps, images)
    except UserError as error:
        raise UserError(f"model {member.name}: {error}") from None


def check_names(models: Mapping[str, object]) -> None:
    """Check that there is at least one model by its name.

    Raises:
        UserError: there is none.
    """
    if not isinstance(models, Mapping) or not models:
        raise UserError("there is no model to make images against: give at least one, by its name")


def _check_arguments(models: Mapping[str, object], attack: object, batch_size: object) -> None:
    for name, model in models.items():
        if not isinstance(model, nn.Module):
            raise UserError(f"model {name} is a {type(model).__name__}: it must be a torch.nn.Module")
    if not isinstance(attack, Attack):
        raise UserError(f"the attack is a {type(attack).__name__}: make one with nofrost.create_attack")
    if type(batch_size) is not int or batch_size < 1:
        raise UserError(f"batch_size is {batch_size!r}: it must be a number of images, at least 1")


def _settings(attack: Attack) -> dict[str, Any]:
    """Return the settings of an attack as JSON values; those of its members where it is a worst case."""
    settings = asdict(attack)
    members = getattr(attack, "attacks", None)
    if members is not None:
        settings["attacks"] = [{"name": member.name, **_settings(member)} for member in members]
    return settings
