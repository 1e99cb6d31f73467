"""Stochastic gradient descent (Robbins and Monro 1951); full-batch gradient descent where a task has no batches.

The common schedule ends in a cosine to 0, not in the series of steps that Robbins and Monro's theorem asks for.
"""

from torch.optim import SGD

from suite import LogUniform, Submission

submission = Submission(name="sgd", optimizer=SGD, space={"lr": LogUniform(0.02, 2.0)})
