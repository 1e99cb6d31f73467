"""RMSprop: the gradient over its running root mean square (Tieleman and Hinton 2012, Coursera lecture 6.5).

With the lecture's average, 0.9 of the old and 0.1 of the new square; torch's default is 0.99.
"""

from torch.optim import RMSprop

from suite import LogUniform, Submission

submission = Submission(name="rmsprop", optimizer=RMSprop, space={"lr": LogUniform(1e-4, 1e-2), "alpha": 0.9})
