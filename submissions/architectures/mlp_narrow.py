"""Two hidden layers of 16: an eighth of the width of `mlp` (Belkin et al. 2019, arXiv:1812.11118)."""

import functools

from suite import Submission
from suite.models.images import mlp

submission = Submission(name="mlp_narrow", architecture=functools.partial(mlp, widths=(16, 16)))
