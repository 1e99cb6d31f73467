"""The convolutional network with batch norm after every convolution (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

import functools

from suite import Submission
from suite.models.images import cnn

submission = Submission(name="cnn_batchnorm", architecture=functools.partial(cnn, batch_norm=True))
