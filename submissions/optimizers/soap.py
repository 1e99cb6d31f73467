"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321).

Matrices are preconditioned on both sides, vectors are stepped as Adam steps them.
"""

from pytorch_optimizer import SOAP

from suite import LogUniform, Submission

submission = Submission(name="soap", optimizer=SOAP, space={"lr": LogUniform(3e-4, 3e-2), "weight_decay": 0.0})
