"""Architectures, normalisers and checkpoints. The input normaliser lives inside the model."""

from nofrost.models.checkpoint import load_model, load_weights, save_checkpoint
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.create import build, create_model, model_names
from nofrost.models.device import default_device, device_name, fitting_threads, require_gpus
from nofrost.models.mixture import Branch, Joint, Mixture, MixtureBatchNorm, branch, has_mixture
from nofrost.models.precision import precision
from nofrost.models.summary import summarise
from nofrost.models.tensors import write_tensors
from nofrost.models.weight_standardisation import ScaledStdConv2d
from nofrost.models.weights import load_pretrained

__all__ = [
    "Branch",
    "Classifier",
    "Joint",
    "Mixture",
    "MixtureBatchNorm",
    "ScaledStdConv2d",
    "Signature",
    "branch",
    "build",
    "create_model",
    "default_device",
    "device_name",
    "fitting_threads",
    "has_mixture",
    "load_model",
    "load_pretrained",
    "load_weights",
    "model_names",
    "precision",
    "require_gpus",
    "save_checkpoint",
    "summarise",
    "write_tensors",
]
