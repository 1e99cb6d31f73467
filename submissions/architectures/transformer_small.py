"""Decoder of two pre-norm blocks with learned positions (Vaswani et al. 2017, arXiv:1706.03762): 102,000 parameters.

The network of `tiny_lm` itself, which the other architectures of token sequences are compared with.
"""

from suite import Submission
from suite.models.language import CausalTransformer

submission = Submission(name="transformer_small", architecture=CausalTransformer)
