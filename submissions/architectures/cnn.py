"""Convolutional network: three 3x3 convolutions (16, 32, 64 channels), ReLU, max pooling (LeCun et al. 1998)."""

from suite import Submission
from suite.models.images import cnn

submission = Submission(name="cnn", architecture=cnn)
