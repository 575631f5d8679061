"""The same attacks by torchattacks, foolbox and ART, each made from our names and settings.

A package that is not installed, or does not have an attack, gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Perturb = Callable[[Tensor, Tensor], Tensor]
"""From images [N, C, H, W] and labels [N] to adversarial images."""


@dataclass(frozen=True)
class Task:
    """What a peer is to do.

    Args:
        model: in evaluation mode.
        attack: our name of it.
        settings: our settings of it.
        seed: of torch's and NumPy's global generators.
    """

    model: nn.Module
    attack: str
    norm: str
    eps: float
    settings: Mapping[str, Any]
    seed: int = 0


def torchattacks(task: Task) -> Perturb | None:
    """Return an attack of torchattacks."""
    import torchattacks as peer

    given: dict[str, Any] = dict(task.settings)
    norm = {"linf": "Linf", "l2": "L2"}[task.norm]
    steps, step_size = given.get("steps"), given.get("step_size")
    auto = {"norm": norm, "eps": task.eps, "seed": task.seed}

    def apgd(loss: str) -> Any:
        return peer.APGD(task.model, **auto, steps=steps, n_restarts=given.get("restarts", 1), loss=loss)

    def apgd_t() -> Any:
        return peer.APGDT(task.model, **auto, steps=steps, n_classes=given["targets"] + 1)

    def fab(targeted: bool) -> Any:
        classes = given["targets"] + 1 if targeted else 10
        return peer.FAB(task.model, **auto, steps=steps, multi_targeted=targeted, n_classes=classes)

    def square() -> Any:
        rescaled = given.get("rescale_schedule", False)
        # its first query is not counted
        return peer.Square(task.model, **auto, n_queries=given["queries"] - 1, resc_schedule=rescaled)

    def pgd_targeted() -> Any:
        attack = peer.PGD(task.model, eps=task.eps, alpha=step_size, steps=steps)
        attack.set_mode_targeted_random(quiet=True)
        return attack

    made: dict[tuple[str, str], Callable[[], Any]] = {
        ("fgsm", "linf"): lambda: peer.FGSM(task.model, eps=task.eps),
        ("bim", "linf"): lambda: peer.BIM(task.model, eps=task.eps, alpha=step_size, steps=steps),
        ("bim", "l2"): lambda: peer.PGDL2(task.model, eps=task.eps, alpha=step_size, steps=steps, random_start=False),
        ("pgd", "linf"): lambda: peer.PGD(task.model, eps=task.eps, alpha=step_size, steps=steps),
        ("pgd", "l2"): lambda: peer.PGDL2(task.model, eps=task.eps, alpha=step_size, steps=steps),
        ("pgd-targeted", "linf"): pgd_targeted,
        ("mim", "linf"): lambda: peer.MIFGSM(
            task.model, eps=task.eps, alpha=step_size, steps=steps, decay=given["decay"]
        ),
    }
    for each in ("linf", "l2"):
        made["apgd-ce", each] = lambda: apgd("ce")
        made["apgd-dlr", each] = lambda: apgd("dlr")
        made["apgd-t", each] = apgd_t
        made["fab", each] = lambda: fab(targeted=False)
        made["fab-t", each] = lambda: fab(targeted=True)
        made["square", each] = square
        made["autoattack", each] = lambda: peer.MultiAttack([apgd("ce"), apgd_t(), fab(targeted=True), square()])
    return made[task.attack, task.norm]() if (task.attack, task.norm) in made else None


def foolbox(task: Task) -> Perturb | None:
    """Return an attack of foolbox; what it calls PGD with our margin loss stands for CW-linf, which it has not."""
    import eagerpy
    import foolbox as peer

    class MarginPgd(peer.attacks.LinfPGD):  # type: ignore[misc]
        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            def loss(inputs: Any) -> Any:
                return eagerpy.astensor(_margin(model(inputs).raw, labels.raw, task.settings["confidence"]).sum())

            return loss

    given = task.settings
    fixed = {"abs_stepsize": given.get("step_size"), "steps": given.get("steps")}
    kinds: dict[tuple[str, str], Callable[[], Any]] = {
        ("fgsm", "linf"): peer.attacks.FGSM,
        ("fgsm", "l2"): peer.attacks.FGM,
        ("bim", "linf"): lambda: peer.attacks.LinfBasicIterativeAttack(**fixed),
        ("bim", "l2"): lambda: peer.attacks.L2BasicIterativeAttack(**fixed),
        ("pgd", "linf"): lambda: peer.attacks.LinfPGD(**fixed),
        ("pgd", "l2"): lambda: peer.attacks.L2PGD(**fixed),
        ("mim", "linf"): lambda: peer.attacks.LinfMomentumIterativeFastGradientMethod(**fixed, momentum=given["decay"]),
        ("mim", "l2"): lambda: peer.attacks.L2MomentumIterativeFastGradientMethod(**fixed, momentum=given["decay"]),
        ("cw-linf", "linf"): lambda: MarginPgd(**fixed),
    }
    if (task.attack, task.norm) not in kinds:
        return None
    attack = kinds[task.attack, task.norm]()
    model = peer.PyTorchModel(task.model, bounds=(0, 1))

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        adversarial: Tensor = attack(model, images, labels, epsilons=task.eps)[1]
        return adversarial

    return perturb


def art(task: Task) -> Perturb | None:
    """Return an attack of the Adversarial Robustness Toolbox; its PGD with our margin loss stands for CW-linf."""
    import art.attacks.evasion as peer
    from art.estimators.classification import PyTorchClassifier

    given = task.settings

    class Margin(nn.Module):
        def forward(self, logits: Tensor, probabilities: Tensor) -> Tensor:
            return _margin(logits, probabilities.argmax(1), given["confidence"]).mean()

    def perturb(images: Tensor, labels: Tensor) -> Tensor:
        loss = Margin() if task.attack == "cw-linf" else nn.CrossEntropyLoss()
        classifier = PyTorchClassifier(
            task.model, loss, tuple(images.shape[1:]), nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        with np.errstate(all="ignore"):  # its Square divides by zero where a window has spent nothing
            points = make(classifier, len(images)).generate(images.numpy(), y=labels.numpy())
        return torch.from_numpy(points)

    common = {"norm": {"linf": np.inf, "l2": 2}[task.norm], "eps": task.eps}
    fixed = {"eps_step": given.get("step_size"), "max_iter": given.get("steps")}
    losses = {"apgd-ce": "cross_entropy", "apgd-dlr": "difference_logits_ratio"}

    def make(classifier: Any, batch: int) -> Any:
        quiet: dict[str, Any] = {"estimator": classifier, **common, "batch_size": batch}
        match task.attack:
            case "fgsm":
                return peer.FastGradientMethod(**quiet, eps_step=task.eps)
            case "bim" | "pgd" | "cw-linf":
                starts = 0 if task.attack == "bim" else given.get("restarts", 1)
                return peer.ProjectedGradientDescentPyTorch(**quiet, **fixed, num_random_init=starts, verbose=False)
            case "mim":
                return peer.MomentumIterativeMethod(**quiet, **fixed, decay=given["decay"], verbose=False)
            case "square":
                return peer.SquareAttack(**quiet, max_iter=given["queries"] - 1, p_init=0.8, verbose=False)
            case _:
                return peer.AutoProjectedGradientDescent(
                    **quiet, eps_step=2 * task.eps, max_iter=given["steps"], nb_random_init=given.get("restarts", 1),
                    loss_type=losses[task.attack], verbose=False,
                )  # fmt: skip

    known = {"fgsm", "bim", "pgd", "mim", "square", *losses} | ({"cw-linf"} if task.norm == "linf" else set())
    # its Square rescales the schedule always
    if task.attack not in known or (task.attack == "square" and not given.get("rescale_schedule")):
        return None
    return perturb


def _margin(logits: Tensor, labels: Tensor, confidence: float) -> Tensor:
    chosen = F.one_hot(labels, logits.shape[1]).bool()
    wrong = logits.masked_fill(chosen, -torch.inf).amax(1)
    return (wrong - logits[chosen]).clamp(max=confidence)


PEERS: dict[str, tuple[str, Callable[[Task], Perturb | None]]] = {
    "torchattacks": ("torchattacks", torchattacks),
    "foolbox": ("foolbox", foolbox),
    "ART": ("adversarial-robustness-toolbox", art),
}
"""By the name in the tables: the package, and how one of its attacks is made."""


def installed() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    found = {}
    for name, (package, _) in PEERS.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def create(peer: str, task: Task) -> Perturb | None:
    """Return the attack of `peer` that does `task`, which seeds the global generators first; None if it has none."""
    perturb = PEERS[peer][1](task)
    if perturb is None:
        return None

    def seeded(images: Tensor, labels: Tensor) -> Tensor:
        torch.manual_seed(task.seed)
        np.random.seed(task.seed)  # noqa: NPY002  ART draws from it
        return perturb(images, labels)

    return seeded
