"""What theory predicts of methods, task by task, as data that records are compared with. No torch import.

`methods` names the methods. `claim` says what a claim is, a statement of a paper and what it rests on; `prediction`,
what follows from it for a measure of methods' solutions on a task, whether the task meets the conditions, and how far
the measure may be from it. The other files hold them, a file for each family of tasks. `leaderboard.analysis`
compares. Both are stated before the records are made (where not, a prediction says so), and what fails stays.
"""

from suite.predictions.claim import Basis, Claim
from suite.predictions.ledger import CLAIMS, PREDICTIONS
from suite.predictions.methods import NORMS, Method, method_of
from suite.predictions.prediction import Measured, Prediction, Relation

__all__ = [
    "CLAIMS",
    "NORMS",
    "PREDICTIONS",
    "Basis",
    "Claim",
    "Measured",
    "Method",
    "Prediction",
    "Relation",
    "method_of",
]
