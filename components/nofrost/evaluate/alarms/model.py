"""Alarms about the model itself, without an attack: do its gradients and outputs allow attacks to work?

AutoAttack flags the same properties (its flags_doc.md): randomness, a softmax at the output, zero gradients, a
defence that optimises at test time, and fewer than four classes.
"""

from collections.abc import Sequence

from nofrost.attacks import attack_class
from nofrost.evaluate.alarms.alarm import AttackRun, alarm
from nofrost.evaluate.measuring.batch_effects import BatchEffect
from nofrost.results import Alarm
from nofrost.statistics import wilson_interval

ZERO_GRADIENTS_WARN, ZERO_GRADIENTS_FAIL = 0.01, 0.10  # share of images without a gradient
SATURATED = 0.5  # share of images on which the cross-entropy may be zero: a confident model need not be a masked one
CHANGED = 0.1  # share of images whose answer rounding in jumps may change with the batch
STAND_IN, MISLEADING = 0.10, 0.25  # share of images on which gradient and finite difference may disagree
CLASSES_FOR_DLR = 4  # the targeted DLR loss divides by a difference to the third and fourth logit


def gradients_not_zero(zero: int, probed: int) -> Alarm | None:
    """Images without a gradient cannot be attacked by one; None when no image was right, so none was probed."""
    if probed == 0:
        return None
    name, share = "gradients-not-zero", zero / probed
    reason = f"the gradient of the cross-entropy is zero on {zero} of {probed} images"
    if share > ZERO_GRADIENTS_FAIL:
        return alarm(name, "fail", f"{reason}: attacks that follow it as it stands are blind there")
    return alarm(name, "warn" if share > ZERO_GRADIENTS_WARN else "pass", reason)


def gradients_exist() -> Alarm:
    """The outputs do not depend on the images by differentiable steps: no attack with gradients could run."""
    reason = (
        "the outputs have no gradient with respect to the images (detach, no_grad or rounding in the forward pass): "
        "attacks that need one count as unsuccessful"
    )
    return alarm("gradients-not-zero", "fail", reason)


def gradients_match_differences(disagree: int, astray: int, probed: int) -> Alarm | None:
    """A gradient must predict the effect of a small step along it; None when no image was probed.

    It does not if outputs change in jumps (quantised activations) or if the gradient replaces the true one (Athalye et
    al. 2018). A replacement that still leads uphill, such as a straight-through estimate, is only a warning.

    Args:
        disagree: images on which a tiny step raises the margin loss by less than half, or more than one and a half
            times, what the gradient says.
        astray: images on which a step of a quarter of the budget along the gradient's sign does not raise it at all.
        probed: images that were probed.
    """
    if probed == 0:
        return None
    name = "gradients-match-differences"
    if _surely_above(astray, probed, MISLEADING):
        reason = f"a step along the gradient does not raise the loss on {astray} of {probed} images"
        return alarm(name, "fail", f"{reason}: gradient attacks are led astray")
    reason = f"gradient and finite difference disagree on {disagree} of {probed} images"
    if _surely_above(disagree, probed, STAND_IN):
        return alarm(name, "warn", f"{reason}: the outputs move in jumps, or their gradient is a stand-in")
    return alarm(name, "pass", reason)


def cross_entropy_not_saturated(saturated: int, probed: int) -> Alarm | None:
    """Where the right class leads by 17 or more, float32 rounds the cross-entropy to 0; None when nothing was probed.

    An attack that compares its values, as APGD does, then cannot tell a better point from a worse one. The attacks
    here climb a form of it that does not saturate (:func:`nofrost.attacks.losses.error_log_odds`); others do not.
    """
    if probed == 0:
        return None
    name = "cross-entropy-not-saturated"
    reason = f"the cross-entropy is exactly 0 in float32 on {saturated} of {probed} images"
    if _surely_above(saturated, probed, SATURATED):
        advice = "attacks that compare it as it stands, unlike those here, overrate this model"
        return alarm(name, "warn", f"{reason}, as the logits are far apart: {advice}")
    return alarm(name, "pass", reason)


def outputs_are_logits(probabilities: bool) -> Alarm:
    """A softmax inside the model flattens the gradient of every loss on top of it."""
    name = "outputs-are-logits"
    if probabilities:
        return alarm(
            name, "warn", "outputs are non-negative and sum to 1: let the model return logits, without softmax"
        )
    return alarm(name, "pass", "outputs are not probabilities")


def answers_are_repeatable(random: bool, runs: Sequence[AttackRun] = ()) -> Alarm:
    """A model that draws random numbers must be attacked in expectation (Athalye et al. 2018).

    Args:
        random: whether two passes over the same images differ.
        runs: what was measured; those with more than one pass for each gradient attack the expectation.
    """
    name = "answers-are-repeatable"
    if not random:
        return alarm(name, "pass", "two passes over the same images agree")
    reason = "two passes over the same images differ"
    averaging = [run.label for run in runs if run.passes > 1]
    if averaging:
        return alarm(name, "pass", f"{reason}; {', '.join(averaging)} average their gradients over the randomness")
    return alarm(name, "warn", f"{reason}: attacks must average over the randomness (eot, or autoattack version rand)")


def answers_ignore_the_batch(effects: Sequence[BatchEffect]) -> Alarm | None:
    """An accuracy belongs to the model only if its answer for an image depends on that image alone; None when nothing
    could be compared.

    Rounding in jumps, as of quantised activations, can enlarge the last bits of a convolution on a few images.
    """
    if not effects:
        return None
    name = "answers-ignore-the-batch"
    changed = [effect for effect in effects if effect.changed]
    counts = ", ".join(f"{effect.where} on {effect.changed} of {effect.compared} images" for effect in changed)
    if any(effect.changed > CHANGED * effect.compared for effect in changed):
        reason = f"the answer for an image is another one {counts}: it depends on the batch or on earlier calls"
        advice = "these accuracies belong to this batch_size and this order of the images, and not to the model"
        return alarm(name, "fail", f"{reason}, so {advice}")
    if changed:
        return alarm(name, "warn", f"the answer for an image is another one {counts}: look at what rounds or adapts")
    wheres = ", ".join(effect.where for effect in effects)
    return alarm(name, "pass", f"the answers for {max(each.compared for each in effects)} images are the same {wheres}")


def forward_is_static(optimises: bool, changed: str | None = None) -> Alarm:
    """A defence that computes gradients in its forward pass changes with every input: attacks must see through it.

    Args:
        optimises: whether the forward pass computes gradients.
        changed: a parameter or buffer of the model that it changes, so that answers depend on what came before.
    """
    name = "forward-is-static"
    if optimises:
        reason = "the forward pass computes gradients (a defence that optimises at test time)"
        return alarm(name, "warn", f"{reason}: standard attacks do not account for it: use one made for this model")
    if changed is not None:
        reason = f"the forward pass changes the model's own {changed!r}"
        return alarm(name, "warn", f"{reason}: answers may depend on the images before, and no result can be repeated")
    return alarm(name, "pass", "the forward pass computes no gradients")


def classes_suffice(classes: int, attacks: Sequence[str]) -> Alarm | None:
    """The DLR loss needs three classes, the targeted one four; None when no attack of the suite uses them."""
    if all(attack_class(attack).min_classes <= 2 for attack in attacks):
        return None
    name = "classes-suffice"
    needed = max(attack_class(attack).min_classes for attack in attacks)
    if classes < needed:
        loss = "targeted DLR loss" if needed == CLASSES_FOR_DLR else "DLR loss"
        reason = f"the model has {classes} classes, fewer than the {needed} of the {loss}"
        return alarm(name, "warn", f"{reason}: the plain margin was used instead, so this is not quite AutoAttack")
    return alarm(name, "pass", f"the model has {classes} classes")


def _surely_above(count: int, total: int, share: float) -> bool:
    """Return whether the 95 % interval of a count lies above a share, so that a few images raise nothing."""
    return wilson_interval(count, total)[0] > share
