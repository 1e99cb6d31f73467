"""The networks of the tasks (image classifiers, linear predictors, ReLU networks), and the state of any network."""

from suite.models.attention import TokenSelector
from suite.models.images import cnn, mlp, resnet
from suite.models.linear_networks import (
    NETWORKS,
    Convolutional,
    Diagonal,
    DiagonalNetwork,
    FactoredPredictor,
    FullyConnected,
    InnerProduct,
    LinearClassifier,
    LinearNetwork,
    LinearPredictor,
    MatrixPredictor,
    MatrixProduct,
    steepness,
)
from suite.models.modules import evaluating, initialize, is_scripted, seeded, statistics_kept
from suite.models.recorded import RecordedPredictor, RecordedTanhNetwork
from suite.models.relu import TwoLayerQuadratic, TwoLayerReLU, balance, relu_network, spread_knots
from suite.models.state import call_with, copy_of, hold, in_double, materialize, restore

__all__ = [
    "NETWORKS",
    "Convolutional",
    "Diagonal",
    "DiagonalNetwork",
    "FactoredPredictor",
    "FullyConnected",
    "InnerProduct",
    "LinearClassifier",
    "LinearNetwork",
    "LinearPredictor",
    "MatrixPredictor",
    "MatrixProduct",
    "RecordedPredictor",
    "RecordedTanhNetwork",
    "TokenSelector",
    "TwoLayerQuadratic",
    "TwoLayerReLU",
    "balance",
    "call_with",
    "cnn",
    "copy_of",
    "evaluating",
    "hold",
    "in_double",
    "initialize",
    "is_scripted",
    "materialize",
    "mlp",
    "relu_network",
    "resnet",
    "restore",
    "seeded",
    "spread_knots",
    "statistics_kept",
    "steepness",
]
