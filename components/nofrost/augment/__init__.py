"""Stage augment: augmentation sets made offline from the training images of a dataset, one file for each method."""

# ruff: noqa: F401  importing a method registers it
import nofrost.augment.corrupted_images
import nofrost.augment.deepaugment.method
import nofrost.augment.tda
from nofrost.augment.base import list_methods, resolve_methods, spell_out
from nofrost.augment.stage import merge, run

__all__ = ["list_methods", "merge", "resolve_methods", "run", "spell_out"]
