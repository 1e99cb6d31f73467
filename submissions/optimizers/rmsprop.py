"""RMSprop: the gradient over its running root mean square (Tieleman and Hinton 2012, Coursera lecture 6.5)."""

from torch.optim import RMSprop

from suite import LogUniform, Submission

submission = Submission(name="rmsprop", optimizer=RMSprop, space={"lr": LogUniform(1e-4, 1e-2)})
