"""Whether a dataset, its test sets or augmentation sets on disk are what their manifests say: every fault is found."""

from nofrost.verify.outputs import verify

__all__ = ["verify"]
