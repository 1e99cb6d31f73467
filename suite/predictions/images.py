"""Images: batches, adaptive steps, sharpness-aware steps, and bad initializations."""

from __future__ import annotations

from collections.abc import Iterator

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import Method
from suite.predictions.prediction import Measured, Prediction, Relation

KESKAR = "Keskar et al. 2017, arXiv:1609.04836"
FORET = "Foret et al. 2021, arXiv:2010.01412"
LIU = "Liu, Papailiopoulos and Achlioptas 2020, arXiv:1906.02613"

LARGE_BATCH_ERRORS = Claim(
    "large-batches-err",
    "Large batches make more errors than small ones.",
    KESKAR,
    Basis.OBSERVATION,
    "abstract",
)
SMALL_BATCH_FLAT = Claim(
    "small-batches-flat",
    "SGD with small batches ends in flatter minima than with large ones.",
    KESKAR,
    Basis.OBSERVATION,
    "abstract",
)
SMALL_BATCH_EIGENVALUE = Claim(
    "small-batches-eigenvalue",
    "SGD with small batches ends at a smaller largest eigenvalue of the Hessian, raw, than with large ones.",
    KESKAR,
    Basis.OBSERVATION,
)
ADAPTIVE_ERRORS = Claim(
    "adaptive-methods-err",
    "Adam makes more errors than SGD.",
    "Wilson et al. 2017, arXiv:1705.08292",
    Basis.OBSERVATION,
)
SAM_ERRORS = Claim("sam-errs-less", "SAM makes fewer errors than SGD.", FORET, Basis.OBSERVATION)
SAM_EIGENVALUE = Claim(
    "sam-eigenvalue",
    "SAM ends at a smaller largest eigenvalue of the Hessian, raw, than SGD.",
    FORET,
    Basis.OBSERVATION,
)
SAM_FLAT = Claim(
    "sam-flat",
    "SAM ends in flatter minima than SGD, by a sharpness that rescaling does not move.",
    FORET,
    Basis.OBSERVATION,
)
STAYS_BAD = Claim(
    "bad-start-stays",
    "SGD that is started from a bad global minimum stays near it, and errs more than from a fresh initialization.",
    LIU,
    Basis.OBSERVATION,
)
DECAY_LEAVES = Claim("bad-start-decay", "Weight decay leads away from a bad global minimum.", LIU, Basis.OBSERVATION)
MOMENTUM_LEAVES = Claim("bad-start-momentum", "Momentum leads away from a bad global minimum.", LIU, Basis.OBSERVATION)

SMALL_BATCH, LARGE_BATCH = "cifar10_cnn[subset=2000]", "cifar10_cnn[batch=200,subset=2000]"
NATURAL = (SMALL_BATCH, LARGE_BATCH, "cifar10_resnet[subset=2000]")
DIGITS = ("mnist5k_mlp", "mnist_mlp", "mnist_cnn[subset=10000]")
SMALL_DATA = "observed on larger networks and on all images, with augmentation"
GRADIENT_DESCENT = (Method.GRADIENT_DESCENT,)


def _predictions() -> Iterator[Prediction]:
    """All retrospective: images were recorded before there was a ledger."""
    for measure, claim, unmet in (
        ("test_error", LARGE_BATCH_ERRORS, "observed on all images"),
        ("adaptive_sharpness", SMALL_BATCH_FLAT, "observed on all images, by a sharpness in a box"),
        ("lambda_max", SMALL_BATCH_EIGENVALUE, "observed on all images, by a sharpness in a box"),
    ):
        small = Measured(measure, task=SMALL_BATCH)
        yield Prediction(
            LARGE_BATCH, GRADIENT_DESCENT, measure, Relation.AT_LEAST, small, 0.0, claim, unmet, retrospective=True
        )
    for task in (*NATURAL, *DIGITS):
        for methods, measure, relation, claim, unmet in (
            ((Method.ADAM,), "test_error", Relation.AT_LEAST, ADAPTIVE_ERRORS, SMALL_DATA),
            ((Method.SAM,), "test_error", Relation.AT_MOST, SAM_ERRORS, SMALL_DATA),
            ((Method.SAM,), "lambda_max", Relation.AT_MOST, SAM_EIGENVALUE, SMALL_DATA),
            ((Method.SAM,), "adaptive_sharpness", Relation.AT_MOST, SAM_FLAT, "observed for the raw eigenvalue"),
        ):
            descent = Measured(measure, Method.GRADIENT_DESCENT)
            yield Prediction(task, methods, measure, relation, descent, 0.0, claim, unmet, retrospective=True)
    for bad, fresh in (("cifar10_bad_start[subset=2000]", SMALL_BATCH), ("mnist5k_bad_start", "mnist5k_mlp")):
        unmet = "the start is fitted to the true data too"
        for methods, relation, value, claim in (
            (GRADIENT_DESCENT, Relation.AT_LEAST, Measured("test_error", task=fresh), STAYS_BAD),
            ((Method.ADAMW,), Relation.AT_MOST, Measured("test_error", Method.ADAM), DECAY_LEAVES),
            ((Method.MOMENTUM,), Relation.AT_MOST, Measured("test_error", Method.GRADIENT_DESCENT), MOMENTUM_LEAVES),
        ):
            yield Prediction(bad, methods, "test_error", relation, value, 0.0, claim, unmet, retrospective=True)


PREDICTIONS = tuple(_predictions())
