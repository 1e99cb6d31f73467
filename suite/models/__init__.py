"""The networks of the tasks: image classifiers, linear predictors under several parametrisations, ReLU networks."""

from suite.models.images import cnn, mlp, resnet
from suite.models.linear_networks import (
    NETWORKS,
    Convolutional,
    Diagonal,
    DiagonalNetwork,
    FullyConnected,
    InnerProduct,
    LinearClassifier,
    LinearNetwork,
    LinearPredictor,
    MatrixProduct,
    steepness,
)
from suite.models.modules import evaluating, initialize, seeded
from suite.models.relu import TwoLayerQuadratic, TwoLayerReLU, balance, relu_network, spread_knots

__all__ = [
    "NETWORKS",
    "Convolutional",
    "Diagonal",
    "DiagonalNetwork",
    "FullyConnected",
    "InnerProduct",
    "LinearClassifier",
    "LinearNetwork",
    "LinearPredictor",
    "MatrixProduct",
    "TwoLayerQuadratic",
    "TwoLayerReLU",
    "balance",
    "cnn",
    "evaluating",
    "initialize",
    "mlp",
    "relu_network",
    "resnet",
    "seeded",
    "spread_knots",
    "steepness",
]
