"""Six hidden layers of 128: depth without anything that helps it (Valle-Pérez et al. 2019, arXiv:1805.08522).

The claim that depth makes functions simpler or smoother is put to the test by this network beside `mlp`.
"""

import functools

from suite import Submission
from suite.models.images import mlp

submission = Submission(name="mlp_deep", architecture=functools.partial(mlp, widths=(128,) * 6))
