"""Architectures, normalisers and checkpoints. The input normaliser lives inside the model."""

from nofrost.models.checkpoint import load_model, load_pretrained, load_weights, save_checkpoint, write_tensors
from nofrost.models.classifier import Classifier, Signature, precision
from nofrost.models.create import build, create_model, list_models
from nofrost.models.device import default_device, device_name, require_gpus, single_thread_if_small
from nofrost.models.inspection import BlockSignal, signal_propagation, summarise
from nofrost.models.layers import BatchNorm, ScaledStdConv2d
from nofrost.models.mixture import Branch, Joint, Mixture, MixtureBatchNorm, branch, has_mixture

__all__ = [
    "BatchNorm",
    "BlockSignal",
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
    "has_mixture",
    "list_models",
    "load_model",
    "load_pretrained",
    "load_weights",
    "precision",
    "require_gpus",
    "save_checkpoint",
    "signal_propagation",
    "single_thread_if_small",
    "summarise",
    "write_tensors",
]
