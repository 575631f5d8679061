"""Transfer: images made against one model, judged by others that the attacker has not seen (Papernot et al. 2016)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.attacks import Attack
from nofrost.errors import UserError
from nofrost.evaluate.engine import show
from nofrost.evaluate.fingerprint import model_sha256, sample_sha256
from nofrost.evaluate.measurement import BRANCHES, Branch, Measurement
from nofrost.evaluate.sample import Flags, Sample, sample_of_tensors
from nofrost.evaluate.store import ConditionStore
from nofrost.evaluate.trial import tried_batch_size
from nofrost.models import branch, has_mixture
from nofrost.models.device import model_device, usable_device
from nofrost.results import Proportion

MOST = 62  # models, branches included: the answers to an image are the bits of one number


@dataclass(frozen=True)
class TransferResult:
    """What of N images every model still gets right, whichever model they were made against.

    Args:
        attack: as it was let loose on each model.
        names: of the M models. A mixture-BN model stands here as it is deployed and, as ``NAME-clean-branch`` and
            ``NAME-adversarial-branch``, once for each branch.
        clean: [M, N] whether each model is right on the clean images.
        flags: [M, M, N], by the model that the images were made against (source), then by the model that is asked
            (target): whether the target is right on the clean image and on the one made of it. So an image that the
            target gets wrong when clean is wrong whatever was made of it; the diagonal is the attack without transfer.
    """

    attack: Attack
    sample: Sample
    names: tuple[str, ...]
    clean: NDArray[np.bool_]
    flags: NDArray[np.bool_]

    @property
    def accuracy(self) -> dict[str, dict[str, Proportion]]:
        """Exact count and 95 % interval by source, then by target, over all N images."""
        return {source: self._by_target(flags) for source, flags in zip(self.names, self.flags, strict=True)}

    def metrics(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds."""
        return {
            "kind": "transfer",
            "attack": {"name": self.attack.name, **_settings(self.attack)},
            "samples": len(self.sample),
            "models": list(self.names),
            "clean": _as_json(self._by_target(self.clean)),
            "accuracy": {source: _as_json(targets) for source, targets in self.accuracy.items()},
            "indices_sha256": self.sample.indices_sha256(),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds: indices, labels, and every flag by source and target."""
        arrays: dict[str, NDArray[Any]] = {"indices": self.sample.indices, "labels": self.sample.labels}
        arrays |= {f"clean/{name}": flags for name, flags in zip(self.names, self.clean, strict=True)}
        for source, by_target in zip(self.names, self.flags, strict=True):
            arrays |= {f"{source}/{target}": flags for target, flags in zip(self.names, by_target, strict=True)}
        return arrays

    def _by_target(self, flags: NDArray[np.bool_]) -> dict[str, Proportion]:
        counts = zip(self.names, flags, strict=True)
        return {name: Proportion.of_flags(right) for name, right in counts}


def transfer(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    indices: Tensor | None = None,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    checkpoint_dir: str | Path | None = None,
    show_progress: bool = False,
) -> TransferResult:
    """Let an attack loose on every model, and show each what was made against the others.

    An attack that stops at the first point that fools its source (``early_stop=True``) stops just behind the source's
    boundary; with ``early_stop=False`` its images transfer better.

    Args:
        models: by name, mapping images to logits [N, K]. All are on the device at once.
        images: floats [N, C, H, W] in [0, 1], evaluated in float32.
        labels: N integers in [0, K).
        attack: such as of ``create_attack`` or ``WorstCase.of``.
        indices: N integers that name the images; they pick the attack's random numbers. Default: 0 to N - 1.
        device: where to compute; default: where the first model is.
        batch_size: how many images at once; default: found by memory.
        checkpoint_dir: folder that keeps every finished batch, so that a killed call, made again, goes on from there.
        show_progress: whether to show on standard error how far each model is, and the time left.

    Raises:
        UserError: there is no model, or models, images, labels or device are not as described.
    """
    sample = sample_of_tensors(images, labels, indices, None)
    if not models:
        raise UserError("there is no model to make images against: give at least one, by its name")
    place = model_device(next(iter(models.values()))) if device is None else usable_device(device)
    batch_size = common_batch_size(models, sample, place, batch_size)
    folder = None
    if checkpoint_dir is not None:
        weights = {name: model_sha256(model) for name, model in models.items()}
        depends_on = json.dumps([repr(attack), sample_sha256(sample), weights, batch_size])
        folder = Path(checkpoint_dir) / hashlib.sha256(depends_on.encode()).hexdigest()[:16]
    return measure_transfer(models, sample, attack, place, batch_size, folder, show_progress)


def common_batch_size(models: Mapping[str, nn.Module], sample: Sample, device: torch.device, wanted: int | None) -> int:
    """Return how many images are measured at once, after trying each model on one of them.

    Raises:
        UserError: a model does not take such images, does not return logits, or does not know all labels.
    """
    sizes = []
    for name, model in models.items():
        try:
            sizes.append(tried_batch_size(model, sample, device, wanted))
        except UserError as error:
            raise UserError(f"model {name}: {error}") from None
    return min(sizes)


def measure_transfer(
    models: Mapping[str, nn.Module],
    sample: Sample,
    attack: Attack,
    device: torch.device,
    batch_size: int,
    folder: Path | None,
    show_progress: bool,
) -> TransferResult:
    """Return the result of :func:`transfer`, going on from what `folder` holds of the same work.

    Raises:
        UserError: a model cannot be attacked, or there are too many.
    """
    players = _players(models, sample, device, batch_size, folder, f"transfer of {attack.name}" * show_progress)
    with ExitStack() as stack:
        for player in players:
            if player.branch is None:
                stack.enter_context(player.measurement.ready())
        clean = np.stack([player.measurement.correct(player.branch) for player in players])
        rows = np.logical_or.reduce(clean)
        made = [_judged(source, players, attack, rows) for source in players]
    return TransferResult(attack, sample, tuple(player.name for player in players), clean, np.stack(made) & clean)


@dataclass(frozen=True)
class _Player:
    """A model as deployed, or one branch of a mixture-BN model: once the source, otherwise a target."""

    name: str
    measurement: Measurement
    branch: Branch | None

    def itself(self) -> AbstractContextManager[None]:
        return nullcontext() if self.branch is None else branch(self.measurement.model, self.branch)

    def is_right(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.itself():
            return self.measurement.classify(images, "attacked images") == labels


def _players(
    models: Mapping[str, nn.Module],
    sample: Sample,
    device: torch.device,
    batch_size: int,
    folder: Path | None,
    title: str,
) -> list[_Player]:
    players = []
    for place, (name, model) in enumerate(models.items()):
        store = ConditionStore(None if folder is None else folder / str(place))
        measurement = Measurement(model, sample, batch_size, device, store)
        if title:
            show(measurement, (), title)
        players.append(_Player(name, measurement, None))
        branches = BRANCHES if has_mixture(model) else ()
        players += [_Player(f"{name}-{branch}-branch", measurement, branch) for branch in branches]
    names = [player.name for player in players]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{twice!r} names two models, as a branch has a name too: choose another")
    if len(players) > MOST:
        raise UserError(f"{len(players)} models, branches included, are too many: name at most {MOST}")
    return players


def _judged(source: _Player, targets: Sequence[_Player], attack: Attack, rows: Flags) -> Flags:
    """Return which target is right on which image made against the source, [targets, N]; of other `rows` none is."""

    def right(images: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        with source.itself():
            try:
                made = attack(source.measurement.model, images, labels, indices=indices)
            except UserError as error:
                raise UserError(f"model {source.name}: {error}") from None
        answers = torch.stack([target.is_right(made, labels) for target in targets]).long()
        return (answers << places[:, None].to(answers.device)).sum(0)

    places = torch.arange(len(targets))
    name = "transfer" if source.branch is None else f"transfer-{source.branch}-branch"
    packed = source.measurement.per_image(name, right, dtype=np.int64, rows=rows, title=f"made against {source.name}")
    answers: Flags = (packed >> places.numpy()[:, None] & 1).astype(np.bool_)
    return answers


def _settings(attack: Attack) -> dict[str, Any]:
    """Return the settings of an attack as JSON values; those of its members where it is a worst case."""
    found = asdict(attack)
    members = getattr(attack, "attacks", None)
    if members is not None:
        found["attacks"] = [{"name": member.name, **_settings(member)} for member in members]
    return found


def _as_json(proportions: Mapping[str, Proportion]) -> dict[str, Any]:
    return {name: proportion.as_json() for name, proportion in proportions.items()}
