"""Lion: the sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675)."""

from pytorch_optimizer import Lion

from suite import LogUniform, Submission

submission = Submission(name="lion", optimizer=Lion, space={"lr": LogUniform(1e-4, 1e-2)})
