"""Properties of a model beside its accuracy: of each image (wang2022 §4.3) and of its layers (wang2022 Fig. 1; zeise2025; galloway2019; xie2020)."""

from nofrost.evaluate.properties.batch_norm import BatchNormLayer, batch_norm_layers, batch_statistics
from nofrost.evaluate.properties.distance import boundary_distance
from nofrost.evaluate.properties.gradient import gradient_norm
from nofrost.evaluate.properties.layers import LayerStatistics, MiniBatch, layer_statistics
from nofrost.evaluate.properties.margin import decision_margin
from nofrost.evaluate.properties.smoothness import model_smoothness
from nofrost.evaluate.properties.summary import summary
from nofrost.evaluate.properties.thickness import boundary_thickness
from nofrost.evaluate.properties.tilting import tilting_angle
from nofrost.evaluate.properties.weights import WeightNorms, weight_norms

__all__ = [
    "BatchNormLayer",
    "LayerStatistics",
    "MiniBatch",
    "WeightNorms",
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
