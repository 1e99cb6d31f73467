"""Fully connected ReLU network, two hidden layers of 128: what the other architectures are compared with.

Torch's default initialisation, uniform within 1/sqrt(fan in) (LeCun et al. 1998).
"""

from suite import Submission
from suite.models.images import mlp

submission = Submission(name="mlp", architecture=mlp)
