"""Residual network with group norm (He et al. 2016, arXiv:1512.03385; Wu & He 2018, arXiv:1803.08494)."""

from suite import Submission
from suite.models.images import resnet

submission = Submission(name="resnet", architecture=resnet)
