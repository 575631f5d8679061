"""A trial of a model before any work: does it take images of this size?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nofrost.errors import UserError, reason
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.device import out_of_memory
from nofrost.models.modes import eval_mode


@torch.no_grad()
def check_forward(model: Classifier, image_size: tuple[int, int] | None = None, because: str = "") -> None:
    """Check, on two images of zeros in evaluation mode, that a model answers images with logits; it is not changed.

    Args:
        image_size: height and width; None: those of the model's signature.
        because: says where that size comes from, for the error.

    Raises:
        UserError: it does not, as where the images are too small for its layers.
    """
    signature = model.signature
    height, width = image_size or signature.image_size
    images = torch.zeros(2, signature.channels, height, width, device=model.mean.device)
    with eval_mode(model), images_refused(signature, (height, width), because):
        logits = model(images)
        if not isinstance(logits, torch.Tensor) or logits.shape != (2, signature.num_classes):
            raise ValueError(f"it returns {tuple(getattr(logits, 'shape', ()))} for 2 images")


@contextmanager
def images_refused(
    signature: Signature, image_size: tuple[int, int] | None = None, because: str = ""
) -> Iterator[None]:
    """Turn whatever a network raises inside the block, on images of zeros, into a UserError with arch and size."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or out_of_memory(error):
            raise
        height, width = image_size or signature.image_size
        raise UserError(
            f"arch {signature.arch!r} does not take images of {height} x {width} pixels and {signature.channels} "
            f"channels{because} ({reason(error)}): take larger images, or choose another arch such as resnet20"
        ) from error
