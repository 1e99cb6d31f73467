"""Next tokens and attention."""

from __future__ import annotations

from collections.abc import Iterator

from suite.predictions.margins import (
    ENTRYWISE,
    EUCLIDEAN,
    FAN,
    LOGARITHMIC,
    SPECTRAL,
    Group,
    conjectured,
    matrix_margins,
    own_norm,
)
from suite.predictions.methods import Method
from suite.predictions.prediction import EXACT, LIMIT, Basis, Measured, Prediction, Relation

THRAMPOULIDIS = "Thrampoulidis 2024, arXiv:2402.18551"
TARZANAGH = "Tarzanagh et al. 2023, arXiv:2308.16898"
KUNSTNER = "Kunstner and Bach 2025, arXiv:2505.19227"


def _with_gradient_descent(source: str) -> tuple[Group, ...]:
    """Proved for gradient descent, conjectured for its relatives."""
    return (((Method.GRADIENT_DESCENT,), Basis.THEOREM, source, ""), *conjectured(EUCLIDEAN[1:], source))


OTHERS = (conjectured(ENTRYWISE, FAN), conjectured(SPECTRAL, FAN))


def _predictions() -> Iterator[Prediction]:
    yield from matrix_margins("next_token_margin", _with_gradient_descent(THRAMPOULIDIS), OTHERS, LOGARITHMIC)
    yield Prediction(
        "next_token_margin",
        (Method.GRADIENT_DESCENT,),
        "finite_distance",
        Relation.AT_MOST,
        LIMIT,
        0.0,
        "In the subspace of the log-odds W converges to them.",
        THRAMPOULIDIS,
    )
    for task in ("zipf_bigram", "zipf_bigram[loss=cross_entropy]"):
        for method, basis, unmet in (
            (Method.GRADIENT_DESCENT, Basis.THEOREM, ""),
            (Method.NORMALIZED, Basis.CONJECTURE, "steps are not infinitesimal"),
        ):
            yield Prediction(
                task,
                (method,),
                "rare_excess",
                Relation.EQUALS,
                Measured("flow_rare_excess"),
                LIMIT,
                "Words are learned in proportion to their frequency: gradient flow's share is left of rare ones.",
                KUNSTNER,
                basis,
                unmet,
            )
        for method in (Method.SIGN, Method.LION, Method.ADAM):
            proved = method is Method.SIGN
            yield Prediction(
                task,
                (method,),
                "rare_excess",
                Relation.EQUALS,
                0.1,
                LIMIT,
                "The frequency of a word scales its gradient, which these steps do not see: all are learned alike.",
                KUNSTNER,
                Basis.THEOREM if proved else Basis.CONJECTURE,
                "" if proved else "proved for sign descent",
            )
    yield from matrix_margins("attention_selection", _with_gradient_descent(TARZANAGH), OTHERS)
    near = "proved from starts near a locally optimal direction"
    for methods, basis in (((Method.GRADIENT_DESCENT,), Basis.THEOREM), ((Method.NORMALIZED,), Basis.CONJECTURE)):
        for measure, tolerance, statement, unmet in (
            ("locally_optimal", EXACT, "The tokens that are selected are locally optimal.", near),
            (
                "local_margin_ratio",
                LIMIT,
                "The direction converges to that of the largest margin of the selection that is found.",
                f"{near}; {LOGARITHMIC}",
            ),
        ):
            yield Prediction(
                "attention_selection[worth=graded]",
                methods,
                measure,
                Relation.EQUALS,
                1.0,
                tolerance,
                statement,
                TARZANAGH,
                basis,
                unmet,
            )
    yield from own_norm(
        "attention_selection[parametrisation=key_query]",
        "nuclear_margin_ratio",
        Method.SIGN,
        (((Method.GRADIENT_DESCENT,), Basis.CONJECTURE, TARZANAGH, "proved for the regularization path"),),
    )


PREDICTIONS = tuple(_predictions())
