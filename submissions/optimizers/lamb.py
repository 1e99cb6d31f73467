"""LAMB: Adam's direction with a length in proportion to each layer's weights (You et al. 2020, arXiv:1904.00962)."""

from pytorch_optimizer import Lamb

from suite import LogUniform, Submission

submission = Submission(name="lamb", optimizer=Lamb, space={"lr": LogUniform(1e-3, 0.1)})
