"""Stage augment: augmentation sets made offline from the training images of a dataset."""

from nofrost.augment.stage import run

__all__ = ["run"]
