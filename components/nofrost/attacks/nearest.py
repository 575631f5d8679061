"""What attacks that look for the nearest misclassified image share: when they stop, and the distances they find."""

from abc import abstractmethod

import torch
from torch import Tensor

from nofrost.attacks.base import Attack
from nofrost.attacks.hyperplanes import length
from nofrost.attacks.model import CheckedModel, Model
from nofrost.attacks.random import Noise
from nofrost.attacks.search import Best
from nofrost.attacks.session import attack_session, to_search_dtype
from nofrost.registry import configurable

# The ball's projection does not move points this far inside it, so the point that was judged is the one returned
_INSIDE = 2e-7


@configurable
class NearestPoint(Attack):
    """A search for the smallest perturbation that changes the decision.

    Called as an attack it stops on an image at the first misclassified point within `eps`, which is all that robust
    accuracy needs. Other images come back as the nearest misclassified point, projected into the ball, or unchanged.
    For the smallest perturbations use `distances`, which searches to the end.
    """

    @abstractmethod
    def nearest(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise, enough: float) -> Best:
        """Return the nearest misclassified points, their loss being the negative distance.

        Images with one no farther than `enough` count as fooled and are not searched further.
        """

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return self.nearest(model, images, labels, noise, enough=max(self.eps - _INSIDE, 0.0)).points

    def distances(self, model: Model, images: Tensor, labels: Tensor, *, indices: Tensor | None = None) -> Tensor:
        """Return the size of the smallest perturbation found per image, [N] in pixels; infinite where none was.

        Zero for images that are misclassified as they are. The search stops early on no image, also not beyond `eps`.
        An upper bound on the distance to the decision boundary.

        Args, and errors: those of a call of the attack.
        """
        with attack_session(model, images, labels, indices, seed=self.seed) as checked:
            clean = to_search_dtype(images)
            if len(clean) == 0:
                return clean.new_empty(0)
            noise = Noise.of_images(self.seed, images, indices)
            best = self.nearest(checked, clean, labels.clone(), noise, enough=0.0)
        return -best.loss

    def rate(self, clean: Tensor, points: Tensor, wrong: Tensor, enough: float) -> Best:
        """Return points as best ones: the nearer the better where they are `wrong`, fooled no farther than `enough`."""
        distance = length(points - clean, self.norm)
        return Best(points, torch.where(wrong, -distance, -torch.inf), wrong & (distance <= enough))
