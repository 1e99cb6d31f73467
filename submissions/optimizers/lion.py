"""Lion: the sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675).

With the paper's betas 0.9 and 0.99, and step sizes three times shorter than Adam's. Its authors decay the weights;
this entry does not, so that what it shows is the bias of the update (`lion[weight_decay=0.1]` decays).
"""

from pytorch_optimizer import Lion

from suite import LogUniform, Submission

submission = Submission(name="lion", optimizer=Lion, space={"lr": LogUniform(1e-4, 1e-2)})
