"""Properties of a model beside its accuracy: of each image (wang2022 §4.3) and of its layers.

Papers that show properties of layers are wang2022 (Fig. 1), zeise2025, galloway2019 and xie2020.
"""

from nofrost.evaluate.properties.answers import decision_margin, gradient_norm, model_smoothness
from nofrost.evaluate.properties.batch_norm import BatchNormLayer, batch_norm_layers, batch_statistics
from nofrost.evaluate.properties.boundary import boundary_distance, boundary_thickness
from nofrost.evaluate.properties.layers import LayerStatistics, MiniBatch, layer_statistics
from nofrost.evaluate.properties.suite import summary
from nofrost.evaluate.properties.tilting import tilting_angle
from nofrost.evaluate.properties.weights import weight_norms

__all__ = [
    "BatchNormLayer",
    "LayerStatistics",
    "MiniBatch",
    "batch_norm_layers",
    "batch_statistics",
    "boundary_distance",
    "boundary_thickness",
    "decision_margin",
    "gradient_norm",
    "layer_statistics",
    "model_smoothness",
    "summary",
    "tilting_angle",
    "weight_norms",
]
