"""Model cards: the result of an evaluation in the fields of RobustBench, and further fields under ``nofrost``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from nofrost.attacks import attack_settings, list_attacks
from nofrost.attacks.autoattack import standard_settings
from nofrost.config.base import Schema
from nofrost.config.validation import sentence
from nofrost.errors import UserError
from nofrost.files import read_json
from nofrost.results import AdversarialMetrics, Alarm, AttackUse, validate_result

AUTOATTACK = "autoattack"
# Checks that make a card unreliable when they are raised: AutoAttack's own flags, and what a batch changes
FLAGS = frozenset(
    {
        "answers-are-repeatable",
        "answers-ignore-the-batch",
        "forward-is-static",
        "gradients-not-zero",
        "outputs-are-logits",
        "white-box-beats-black-box",
    }
)


class About(Schema):
    """The fields of a card that are not measured; `reported` is the robust accuracy in the paper, in %."""

    name: str = Field(min_length=1)
    authors: str = Field(min_length=1)
    link: str | None = None
    additional_data: bool = False
    number_forward_passes: int = Field(default=1, ge=1)
    dataset: str | None = None
    venue: str | None = None
    architecture: str | None = None
    reported: float | None = Field(default=None, ge=0, le=100)


def make_card(metrics: AdversarialMetrics, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of a model: the fields of RobustBench's model cards, and what is ours under ``nofrost``.

    ``autoattack_acc`` is there only when AutoAttack's version standard was measured with its own settings on all
    images; otherwise it is null, and ``nofrost.autoattack_reason`` says why. ``unreliable`` is true when an alarm
    failed or one of :data:`FLAGS` was raised. Accuracies are percentages with two decimals, as text.

    Args:
        metrics: of an adversarial evaluation.
        about: the fields of :class:`About`.

    Raises:
        UserError: `about` lacks a name or authors, or has an unknown field or a wrong value.
    """
    try:
        fields = About.model_validate(dict(about))
    except ValidationError as error:
        raise UserError(sentence(error, About, "card")) from None
    condition, reason = _autoattack(metrics)
    accuracy = metrics.accuracy
    shown = list(dict.fromkeys(["clean", "worst-case", *([condition] if condition else [])]))
    return {
        "link": fields.link,
        "name": fields.name,
        "authors": fields.authors,
        "additional_data": fields.additional_data,
        "number_forward_passes": fields.number_forward_passes,
        "dataset": fields.dataset,
        "venue": fields.venue,
        "architecture": fields.architecture,
        "eps": str(metrics.threat.eps),
        "clean_acc": _percent(accuracy["clean"].accuracy),
        "reported": None if fields.reported is None else f"{fields.reported:.2f}",
        "autoattack_acc": _percent(accuracy[condition].accuracy) if condition else None,
        "unreliable": any(map(_is_unreliable, metrics.alarms)),
        "nofrost": {
            "autoattack_reason": reason,
            "protocol": metrics.protocol,
            "suite": metrics.title,
            "norm": metrics.threat.norm,
            "samples": metrics.samples,
            "indices_sha256": metrics.indices_sha256,
            "seed": metrics.seed,
            "worst_case_acc": _percent(accuracy["worst-case"].accuracy),
            "interval": {name: [_percent(end) for end in accuracy[name].interval] for name in shown},
            "not_converged": list(metrics.not_converged),
            "alarms": [alarm.as_json() for alarm in metrics.alarms if alarm.status != "pass"],
        },
    }


def card_of_folder(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of an evaluation on disk.

    Args:
        folder: output folder of an adversarial evaluation.
        about: as for :func:`make_card`.

    Raises:
        UserError: the folder holds no adversarial evaluation or a shard only, or `about` is not as described.
    """
    path = folder / "metrics.json"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != "adversarial":
        raise UserError(f"{path} is not of an adversarial evaluation: name the output folder of `nofrost evaluate`")
    if "shard" in content:
        raise UserError(
            f"{folder} holds only shard {content['shard']} of an evaluation: merge all shards with "
            "`nofrost evaluate --merge SHARD` first"
        )
    return make_card(validate_result(AdversarialMetrics, content, path), about)


def _autoattack(metrics: AdversarialMetrics) -> tuple[str | None, str | None]:
    """Return the condition that is standard AutoAttack, or None and why there is none."""
    few = next((alarm for alarm in metrics.alarms if alarm.name == "classes-suffice" and alarm.status != "pass"), None)
    if few is not None:
        return None, few.reason
    if metrics.subset:
        return None, f"only {metrics.samples} images were measured, as the suite's max_images says"
    attacks = metrics.attacks
    for name, attack in attacks.items():
        if attack.name == AUTOATTACK and not attack.cumulative:
            changed = _changed(attack, attack_settings(AUTOATTACK))
            return (None, f"{name} has other settings than AutoAttack: {changed}") if changed else (name, None)
    standard = standard_settings()
    if sorted(attack.name for attack in attacks.values()) != sorted(standard):
        return None, f"the suite is not AutoAttack's version standard: its attacks are {', '.join(attacks)}"
    for name, attack in attacks.items():
        changed = _changed(attack, standard[attack.name])
        if changed:
            return None, f"{name} has other settings than in AutoAttack: {changed}"
    if metrics.cascade:
        return list(attacks)[-1], None
    if set(metrics.accuracy) - {"clean", *attacks, "worst-case"}:
        return None, "the worst case is over more than these attacks: run them as a cascade"
    return "worst-case", None


def _changed(attack: AttackUse, standard: Mapping[str, Any]) -> str:
    """Return in words the settings of an attack that are not the standard's."""
    defaults = attack_settings(attack.name) if attack.name in list_attacks() else {}
    used = {**defaults, **{key: value for key, value in attack.settings().items() if key in standard}}
    return ", ".join(f"{key} {value}" for key, value in used.items() if standard.get(key, value) != value)


def _is_unreliable(alarm: Alarm) -> bool:
    return alarm.status == "fail" or (alarm.status == "warn" and alarm.name in FLAGS)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
