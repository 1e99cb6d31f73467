"""What theory predicts of methods, task by task, as data that records are compared with. No torch import.

`methods` names the methods, `prediction` says what a prediction is, the other files hold them, a file for each family
of tasks. A prediction says whether its source proves it, whether the task meets the conditions, and how far a measure
may be from it; `leaderboard.analysis.predictions` compares. It is stated before the records are made, and a prediction
that fails stays.
"""

from suite.predictions.ledger import PREDICTIONS
from suite.predictions.methods import NORMS, Method, method_of
from suite.predictions.prediction import Basis, Measured, Prediction, Relation

__all__ = ["NORMS", "PREDICTIONS", "Basis", "Measured", "Method", "Prediction", "Relation", "method_of"]
