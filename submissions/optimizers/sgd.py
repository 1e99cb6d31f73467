"""Stochastic gradient descent (Robbins and Monro 1951); full-batch gradient descent where a task has no batches."""

from torch.optim import SGD

from suite import LogUniform, Submission

submission = Submission(name="sgd", optimizer=SGD, space={"lr": LogUniform(0.02, 1.0)})
