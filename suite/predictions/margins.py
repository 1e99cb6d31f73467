"""Separable data: in which norm the margin is maximized.

For each task and norm there are two predictions: the limit, margin over norm relative to the best possible, and an
order that does not wait for the limit, against a method of another norm on the same data.
"""

from __future__ import annotations

from collections.abc import Iterator

from suite.predictions.methods import Method
from suite.predictions.prediction import LIMIT, Basis, Measured, Prediction, Relation

SOUDRY = "Soudry et al. 2018, arXiv:1710.10345"
NACSON = "Nacson et al. 2019, arXiv:1803.01905"
WANG = "Wang et al. 2022, arXiv:2110.03891"
ZHANG = "Zhang, Zou and Cao 2024, arXiv:2406.10650"
FAN = "Fan et al. 2025, arXiv:2502.04664"
XIE = "Xie and Li 2024, arXiv:2404.04454"
LION = "Chen et al. 2023, arXiv:2310.05898"
BAEK = "Baek, Song and Yun 2025, arXiv:2510.26303"
NACSON_STOCHASTIC = "Nacson, Srebro and Soudry 2019, arXiv:1806.01796"
WANG_ADAPTIVE = "Wang et al. 2021, arXiv:2012.06244"
TSILIVIS = "Tsilivis et al. 2024, arXiv:2410.22069"
GRONICH = "Gronich and Vardi 2026, arXiv:2602.16340"
GUNASEKAR_NETWORKS = "Gunasekar et al. 2018, arXiv:1806.00468"
LYU = "Lyu and Li 2020, arXiv:1906.05890"
CHIZAT = "Chizat and Bach 2020, arXiv:2002.04486"

LOGARITHMIC = "a limit in 1/log(loss), far away at the target loss"
WITHOUT_AVERAGES = "proved for steps without these averages over earlier ones"
DECAY = "decay bounds the weights, which a margin's limit lets grow"

Group = tuple[tuple[Method, ...], Basis, str, str]
"""Methods, what the prediction rests on for them, its source, and the condition that is not met."""


def own_norm(task: str, ratio: str, other: Method, groups: tuple[Group, ...], unmet: str = "") -> Iterator[Prediction]:
    """The limit and the order of the margin `ratio` of methods of that norm, against the method `other`."""
    for methods, basis, source, missing in groups:
        conditions = "; ".join(filter(None, (missing, unmet)))
        limit = "The direction converges to that of the largest margin in the norm."
        yield Prediction(task, methods, ratio, Relation.EQUALS, 1.0, LIMIT, limit, source, basis, conditions)
        order = f"More of the largest margin in the norm than {other} has."
        value = Measured(ratio, other)
        yield Prediction(task, methods, ratio, Relation.AT_LEAST, value, 0.0, order, source, basis, conditions)


EUCLIDEAN: tuple[Group, ...] = (
    ((Method.GRADIENT_DESCENT,), Basis.THEOREM, f"{SOUDRY}; {NACSON}", ""),
    ((Method.NORMALIZED,), Basis.THEOREM, f"{NACSON}; {FAN}", ""),
    ((Method.MOMENTUM,), Basis.THEOREM, WANG, "proved for the loss itself, not for its logarithm"),
)
ENTRYWISE: tuple[Group, ...] = (
    ((Method.SIGN,), Basis.THEOREM, FAN, ""),
    ((Method.ADAM,), Basis.THEOREM, ZHANG, ""),
    ((Method.LION,), Basis.CONJECTURE, FAN, WITHOUT_AVERAGES),
    ((Method.ADAMW,), Basis.CONJECTURE, ZHANG, DECAY),
)
SPECTRAL: tuple[Group, ...] = (
    ((Method.MUON,), Basis.THEOREM, FAN, "five Newton-Schulz steps are not an exact orthogonal factor"),
    ((Method.SOAP,), Basis.CONJECTURE, FAN, WITHOUT_AVERAGES),
)


def conjectured(groups: tuple[Group, ...], source: str) -> tuple[Group, ...]:
    """The groups where nothing is proved: for another loss or model than their sources'."""
    return tuple((methods, Basis.CONJECTURE, source, missing) for methods, _, _, missing in groups)


def matrix_margins(
    task: str, euclidean: tuple[Group, ...], others: tuple[tuple[Group, ...], tuple[Group, ...]], unmet: str = ""
) -> Iterator[Prediction]:
    """Of a task whose margins are reported in the Frobenius, the max and the spectral norm."""
    entrywise, spectral = others
    yield from own_norm(task, "frobenius_margin_ratio", Method.SIGN, euclidean, unmet)
    yield from own_norm(task, "max_margin_ratio", Method.GRADIENT_DESCENT, entrywise, unmet)
    yield from own_norm(task, "spectral_margin_ratio", Method.GRADIENT_DESCENT, spectral, unmet)


TEACHERS = (
    ("teacher_geometry", (Method.SIGN, Method.ADAM), f"{FAN}; {ZHANG}", "±1 entries, a corner of the max norm's ball"),
    ("teacher_geometry[truth=orthogonal]", (Method.MUON,), FAN, "orthogonality, a corner of the spectral norm's ball"),
)
"""Teachers with a corner that some method's norm has: the task, the methods, their source, and what the truth is."""


def _small_batches() -> Iterator[Prediction]:
    """Of single samples in cyclic order; on larger batches no theorem says where Adam ends."""
    limit = "The direction converges to that of the largest margin in the norm."
    for data, norm, unmet in (
        ("", "fixed_point", "proved for a proxy, in the limit of beta2 to 1"),
        ("[data=rademacher]", "l2", ""),
    ):
        task, ratio = f"stochastic_margin{data}", f"{norm}_margin_ratio"
        conditions = "; ".join(filter(None, (unmet, LOGARITHMIC)))
        adam = (Method.ADAM,)
        yield Prediction(task, adam, ratio, Relation.EQUALS, 1.0, LIMIT, limit, BAEK, unmet=conditions)
        order = "On single samples Adam leaves the l_inf margin: it has more of this one."
        other = Measured("linf_margin_ratio")
        yield Prediction(task, adam, ratio, Relation.AT_LEAST, other, 0.0, order, BAEK, unmet=conditions)
    euclidean: tuple[Group, ...] = (
        ((Method.GRADIENT_DESCENT,), Basis.THEOREM, NACSON_STOCHASTIC, ""),
        ((Method.MOMENTUM,), Basis.THEOREM, WANG, "proved for batches that are drawn with replacement"),
    )
    signum: tuple[Group, ...] = (((Method.LION,), Basis.CONJECTURE, BAEK, "proved for Signum with momentum near 1"),)
    for variant in ("", "[batch=8]", "[data=rademacher]"):
        task = f"stochastic_margin{variant}"
        yield from own_norm(task, "l2_margin_ratio", Method.LION, euclidean, LOGARITHMIC)
        yield from own_norm(task, "linf_margin_ratio", Method.GRADIENT_DESCENT, signum, LOGARITHMIC)


def _with_epsilon() -> Iterator[Prediction]:
    """Adam before and after its gradients have fallen below its epsilon."""
    for variant in ("[epsilon=0.001]", "", "[epsilon=1e-08]"):
        task, adam = f"adam_epsilon{variant}", (Method.ADAM,)
        yield Prediction(
            task,
            adam,
            "linf_at_crossing",
            Relation.EQUALS,
            1.0,
            LIMIT,
            "While gradients are above epsilon the l_inf margin is approached.",
            ZHANG,
            unmet="a limit that is ended by the crossing",
        )
        yield Prediction(
            task,
            adam,
            "l2_growth",
            Relation.EQUALS,
            1.0,
            LIMIT,
            "Below epsilon the weights grow along the separator of largest l2 margin.",
            WANG_ADAPTIVE,
        )
        for measure, relation, other, statement in (
            ("l2_growth", Relation.AT_LEAST, "linf_growth", "Below epsilon they grow rather along it than the other."),
            ("l2_at_crossing", Relation.AT_MOST, "l2_margin_ratio", "Below epsilon the l2 margin rises."),
            ("linf_at_crossing", Relation.AT_LEAST, "linf_margin_ratio", "Below epsilon the l_inf margin falls."),
        ):
            yield Prediction(task, adam, measure, relation, Measured(other), 0.0, statement, WANG_ADAPTIVE)


def _homogeneous() -> Iterator[Prediction]:
    """KKT points of the largest margin in the norm in which a method's step is steepest."""
    flow, smooth = "proved for steps that go to 0", "proved for smooth networks and steps that go to 0"
    for methods, norm, source, unmet in (
        ((Method.GRADIENT_DESCENT, Method.NORMALIZED), "l2", f"{LYU}; {TSILIVIS}", flow),
        ((Method.MOMENTUM,), "l2", GRONICH, smooth),
        ((Method.SIGN,), "linf", TSILIVIS, flow),
        ((Method.ADAM,), "linf", GRONICH, smooth),
        ((Method.MUON,), "spectral", GRONICH, smooth),
    ):
        residual = f"{norm}_kkt_residual"
        statement = "The direction converges to that of a KKT point of the largest margin in the norm."
        yield Prediction(
            "homogeneous_margin", methods, residual, Relation.AT_MOST, LIMIT, 0.0, statement, source, unmet=unmet
        )
    for methods, residual, measured in (
        ((Method.SIGN, Method.ADAM), "linf_kkt_residual", Measured("linf_kkt_residual", Method.GRADIENT_DESCENT)),
        ((Method.GRADIENT_DESCENT, Method.MOMENTUM), "l2_kkt_residual", Measured("l2_kkt_residual", Method.SIGN)),
    ):
        yield Prediction(
            "homogeneous_margin",
            methods,
            residual,
            Relation.AT_MOST,
            measured,
            0.0,
            f"Closer to a KKT point in the norm than {measured.method} is.",
            TSILIVIS if Method.SIGN in methods else f"{LYU}; {TSILIVIS}",
            Basis.CONJECTURE,
        )


def _predictions() -> Iterator[Prediction]:
    plain = tuple((methods, basis, source, "") for methods, basis, source, _ in EUCLIDEAN)
    for task, euclidean, unmet in (
        ("max_margin", EUCLIDEAN, ""),
        ("max_margin[objective=logistic]", plain, LOGARITHMIC),
    ):
        yield from own_norm(task, "l2_margin_ratio", Method.SIGN, euclidean, unmet)
        yield from own_norm(task, "linf_margin_ratio", Method.GRADIENT_DESCENT, ENTRYWISE, unmet)
    yield from matrix_margins("spectral_margin", EUCLIDEAN, (ENTRYWISE, SPECTRAL))
    for truth in ("", "[truth=sparse]", "[truth=orthogonal]", "[truth=rank_one]"):
        yield from matrix_margins(f"teacher_geometry{truth}", EUCLIDEAN, (ENTRYWISE, SPECTRAL))
    for task, methods, source, truth in TEACHERS:
        yield Prediction(
            task,
            methods,
            "test_error",
            Relation.AT_MOST,
            Measured("test_error", Method.GRADIENT_DESCENT),
            0.0,
            f"The truth has {truth}: the margin in that norm predicts better than gradient descent's.",
            source,
            Basis.CONJECTURE,
        )
    for task in ("linf_box", "spectral_ball"):
        for method, source in ((Method.ADAMW, XIE), (Method.LION, LION)):
            yield Prediction(
                task,
                (method,),
                "box_distance",
                Relation.AT_MOST,
                LIMIT,
                0.0,
                "The decay is a box: the solution minimizes the loss on |w|_inf <= 1 / decay.",
                source,
            )
    for task, norm, other in (
        ("linear_geometry", "l2", "l1"),
        ("linear_geometry[network=diagonal]", "l1", "l2"),
        ("linear_geometry[network=convolutional]", "fourier_l1", "l2"),
    ):
        for methods, basis in (
            ((Method.GRADIENT_DESCENT, Method.NORMALIZED), Basis.THEOREM),
            ((Method.MOMENTUM,), Basis.CONJECTURE),
        ):
            ratio, source = f"{norm}_margin_ratio", f"{GUNASEKAR_NETWORKS}; {LYU}"
            limit = "The predictor converges in direction to the largest margin in the network's own norm."
            yield Prediction(task, methods, ratio, Relation.EQUALS, 1.0, LIMIT, limit, source, basis)
            order = "Closer to the network's own margin than to that of another norm."
            value = Measured(f"{other}_margin_ratio")
            yield Prediction(task, methods, ratio, Relation.AT_LEAST, value, 0.0, order, source, basis)
    yield Prediction(
        "homogeneous_margin",
        (Method.GRADIENT_DESCENT,),
        "path_margin_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        "A wide two-layer network finds the largest margin of the variation norm.",
        CHIZAT,
        unmet="proved for infinite width; at finite width only a KKT point is",
    )
    yield from _small_batches()
    yield from _with_epsilon()
    yield from _homogeneous()


PREDICTIONS = tuple(_predictions())
