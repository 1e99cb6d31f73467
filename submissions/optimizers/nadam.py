"""NAdam: Adam with Nesterov's momentum (Dozat 2016, ICLR workshop, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).

With the paper's schedule of the momentum, ``0.9 (1 - 0.5 * 0.96^(0.004 t))``. Some packages leave it out.
"""

from torch.optim import NAdam

from suite import LogUniform, Submission

submission = Submission(name="nadam", optimizer=NAdam, space={"lr": LogUniform(3e-4, 3e-2)})
