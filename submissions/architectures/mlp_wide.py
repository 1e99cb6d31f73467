"""Two hidden layers of 512: four times the width of `mlp` (Jacot et al. 2018, arXiv:1806.07572).

Width brings a network with this initialisation nearer to its kernel regime.
"""

import functools

from suite import Submission
from suite.models.images import mlp

submission = Submission(name="mlp_wide", architecture=functools.partial(mlp, widths=(512, 512)))
