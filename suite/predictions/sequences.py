"""Next tokens and attention."""

from __future__ import annotations

from collections.abc import Iterator

from suite.predictions.claim import Basis, Claim
from suite.predictions.margins import (
    ENTRYWISE,
    EUCLIDEAN,
    FAN,
    LOGARITHMIC,
    SPECTRAL,
    conjectured,
    direction,
    matrix_margins,
    own_norm,
)
from suite.predictions.methods import Method
from suite.predictions.prediction import EXACT, LIMIT, Measured, Prediction, Relation

THRAMPOULIDIS = "Thrampoulidis 2024, arXiv:2402.18551"
TARZANAGH = "Tarzanagh et al. 2023, arXiv:2308.16898"
KUNSTNER = "Kunstner and Bach 2025, arXiv:2505.19227"

GRADIENT_DESCENT = (Method.GRADIENT_DESCENT,)

LOG_ODDS = Claim("next-token-log-odds", "In the subspace of the log-odds W converges to them.", THRAMPOULIDIS)

PROPORTION = "Words are learned in proportion to their frequency: gradient flow's share is left of rare ones"
BY_FREQUENCY = Claim("zipf-by-frequency", f"{PROPORTION}.", KUNSTNER)
BY_FREQUENCY_NORMALIZED = Claim(
    "zipf-by-frequency-normalized", f"{PROPORTION}, by normalized steps too.", KUNSTNER, Basis.CONJECTURE
)
ALIKE = "The frequency of a word scales its gradient, which these steps do not see: all are learned alike"
SIGN_ALIKE = Claim("zipf-alike-sign", f"{ALIKE}.", KUNSTNER)
OTHERS_ALIKE = Claim("zipf-alike-entrywise", f"{ALIKE}, by Lion and Adam too.", KUNSTNER, Basis.CONJECTURE)

SELECTION = "The tokens that are selected are locally optimal"
LOCAL_MARGIN = "The direction converges to that of the largest margin of the selection that is found"
SELECTIONS = (
    (
        Method.GRADIENT_DESCENT,
        Claim("attention-selection", f"{SELECTION}.", TARZANAGH),
        Claim("attention-local-margin", f"{LOCAL_MARGIN}.", TARZANAGH),
    ),
    (
        Method.NORMALIZED,
        Claim("attention-selection-normalized", f"{SELECTION}, by normalized steps too.", TARZANAGH, Basis.CONJECTURE),
        Claim(
            "attention-local-margin-normalized",
            f"{LOCAL_MARGIN}, by normalized steps too.",
            TARZANAGH,
            Basis.CONJECTURE,
        ),
    ),
)


def _matrices(task: str, topic: str, where: str, source: str, unmet: str = "") -> Iterator[Prediction]:
    """Proved for gradient descent, conjectured for its relatives and, from another source, for other norms."""
    proved = direction(topic, Method.GRADIENT_DESCENT, Method.SIGN, source, where=where)
    euclidean = (proved, *conjectured(EUCLIDEAN[1:], topic, source, where))
    entrywise, spectral = (conjectured(directions, topic, FAN, where) for directions in (ENTRYWISE, SPECTRAL))
    yield from matrix_margins(task, euclidean, entrywise, spectral, unmet)


def _predictions() -> Iterator[Prediction]:
    yield from _matrices("next_token_margin", "next-token", "on next tokens", THRAMPOULIDIS, LOGARITHMIC)
    yield Prediction("next_token_margin", GRADIENT_DESCENT, "finite_distance", Relation.AT_MOST, LIMIT, 0.0, LOG_ODDS)
    for task in ("zipf_bigram", "zipf_bigram[loss=cross_entropy]"):
        for method, claim, unmet in (
            (Method.GRADIENT_DESCENT, BY_FREQUENCY, ""),
            (Method.NORMALIZED, BY_FREQUENCY_NORMALIZED, "steps are not infinitesimal"),
        ):
            flow = Measured("flow_rare_excess")
            yield Prediction(task, (method,), "rare_excess", Relation.EQUALS, flow, LIMIT, claim, unmet)
        for method in (Method.SIGN, Method.LION, Method.ADAM):
            proved = method is Method.SIGN
            claim, unmet = (SIGN_ALIKE, "") if proved else (OTHERS_ALIKE, "proved for sign descent")
            yield Prediction(task, (method,), "rare_excess", Relation.EQUALS, 0.1, LIMIT, claim, unmet)
    yield from _matrices("attention_selection", "attention", "on selected tokens", TARZANAGH)
    near = "proved from starts near a locally optimal direction"
    for method, selection, margin in SELECTIONS:
        for measure, tolerance, claim, unmet in (
            ("locally_optimal", EXACT, selection, near),
            ("local_margin_ratio", LIMIT, margin, f"{near}; {LOGARITHMIC}"),
        ):
            task = "attention_selection[worth=graded]"
            yield Prediction(task, (method,), measure, Relation.EQUALS, 1.0, tolerance, claim, unmet)
    nuclear = direction(
        "attention-keys-queries",
        Method.GRADIENT_DESCENT,
        Method.SIGN,
        TARZANAGH,
        Basis.CONJECTURE,
        "proved for the regularization path",
        margin="nuclear",
        where="on selected tokens",
    )
    yield from own_norm("attention_selection[parametrisation=key_query]", "nuclear_margin_ratio", (nuclear,))


PREDICTIONS = tuple(_predictions())
