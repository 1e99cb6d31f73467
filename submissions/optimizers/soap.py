"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321).

Matrices are preconditioned on both sides, vectors are stepped as Adam steps them; both betas are 0.95, the eigenbasis
is renewed every ten steps, and the first step only fills the preconditioner, all as in its authors' code. There the
decay is 0.01; here it is 0. (The package counts the first step in the correction of the bias, so that its second step
is a quarter shorter.)
"""

from pytorch_optimizer import SOAP

from suite import LogUniform, Submission

submission = Submission(name="soap", optimizer=SOAP, space={"lr": LogUniform(3e-4, 3e-2), "weight_decay": 0.0})
