"""Separable data: in which norm the margin is maximized.

For each task and norm there are two predictions: the limit, margin over norm relative to the best possible, and an
order that does not wait for the limit, against a method of another norm on the same data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from suite.predictions.claim import Basis, Claim
from suite.predictions.methods import NORMS, Method
from suite.predictions.prediction import LIMIT, Measured, Prediction, Relation

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

LOGARITHMIC = "a limit in 1/log(loss), far away at the target loss"
WITHOUT_AVERAGES = "proved for steps without these averages over earlier ones"
DECAY = "decay bounds the weights, which a margin's limit lets grow"


@dataclass(frozen=True)
class Direction:
    """What is claimed of the direction in which a method's weights grow: its `limit`, and an `order`.

    The order compares with the method `other`, of another norm. `unmet` is the condition that is not met.
    """

    method: Method
    other: Method
    limit: Claim
    order: Claim
    unmet: str = ""


def direction(
    topic: str,
    method: Method,
    other: Method,
    source: str,
    basis: Basis = Basis.THEOREM,
    unmet: str = "",
    margin: str = "",
    where: str = "",
) -> Direction:
    """The claims `topic`-`method` and `topic`-`method`-order; `where` says on what, unless it is on any data."""
    name = f"{topic}-{str(method).lower().replace(' ', '-')}"
    words = f"{where} {method}" if where else str(method)
    subject = f"{words[0].upper()}{words[1:]}"
    norm = f"the largest margin in the {margin or NORMS[method]} norm"
    return Direction(
        method,
        other,
        Claim(name, f"{subject} converges in direction to {norm}.", source, basis),
        Claim(f"{name}-order", f"{subject} has more of {norm} than {other} has.", source, basis),
        unmet,
    )


def own_norm(task: str, ratio: str, directions: tuple[Direction, ...], unmet: str = "") -> Iterator[Prediction]:
    """The limit and the order of the margin `ratio` of methods of that norm."""
    for each in directions:
        conditions = "; ".join(filter(None, (each.unmet, unmet)))
        yield Prediction(task, (each.method,), ratio, Relation.EQUALS, 1.0, LIMIT, each.limit, conditions)
        value = Measured(ratio, each.other)
        yield Prediction(task, (each.method,), ratio, Relation.AT_LEAST, value, 0.0, each.order, conditions)


EUCLIDEAN = (
    direction("margin", Method.GRADIENT_DESCENT, Method.SIGN, f"{SOUDRY}; {NACSON}"),
    direction("margin", Method.NORMALIZED, Method.SIGN, f"{NACSON}; {FAN}"),
    direction("margin", Method.MOMENTUM, Method.SIGN, WANG, unmet="proved for the loss itself, not for its logarithm"),
)
ENTRYWISE = (
    direction("margin", Method.SIGN, Method.GRADIENT_DESCENT, FAN),
    direction("margin", Method.ADAM, Method.GRADIENT_DESCENT, ZHANG),
    direction("margin", Method.LION, Method.GRADIENT_DESCENT, FAN, Basis.CONJECTURE, WITHOUT_AVERAGES),
    direction("margin", Method.ADAMW, Method.GRADIENT_DESCENT, ZHANG, Basis.CONJECTURE, DECAY),
)
SPECTRAL = (
    direction(
        "margin",
        Method.MUON,
        Method.GRADIENT_DESCENT,
        FAN,
        unmet="five Newton-Schulz steps are not an exact orthogonal factor",
    ),
    direction("margin", Method.SOAP, Method.GRADIENT_DESCENT, FAN, Basis.CONJECTURE, WITHOUT_AVERAGES),
)


def conjectured(directions: tuple[Direction, ...], topic: str, source: str, where: str) -> tuple[Direction, ...]:
    """The same where nothing is proved: for another loss or model than their sources'."""
    return tuple(
        direction(topic, each.method, each.other, source, Basis.CONJECTURE, each.unmet, where=where)
        for each in directions
    )


def matrix_margins(
    task: str,
    euclidean: tuple[Direction, ...],
    entrywise: tuple[Direction, ...],
    spectral: tuple[Direction, ...],
    unmet: str = "",
) -> Iterator[Prediction]:
    """Of a task whose margins are reported in the Frobenius, the max and the spectral norm."""
    yield from own_norm(task, "frobenius_margin_ratio", euclidean, unmet)
    yield from own_norm(task, "max_margin_ratio", entrywise, unmet)
    yield from own_norm(task, "spectral_margin_ratio", spectral, unmet)


TEACHERS = (
    (
        "teacher_geometry",
        (Method.SIGN, Method.ADAM),
        Claim(
            "teacher-of-signs",
            "The truth has ±1 entries, a corner of the max norm's ball: the margin in that norm predicts better than "
            "gradient descent's.",
            f"{FAN}; {ZHANG}",
            Basis.CONJECTURE,
        ),
    ),
    (
        "teacher_geometry[truth=orthogonal]",
        (Method.MUON,),
        Claim(
            "teacher-orthogonal",
            "The truth is orthogonal, a corner of the spectral norm's ball: the margin in that norm predicts better "
            "than gradient descent's.",
            FAN,
            Basis.CONJECTURE,
        ),
    ),
)
"""Teachers with a corner that some method's norm has: the task, the methods, and what is claimed."""

BOX = "The decay is a box: the solution minimizes the loss on |w|_inf <= 1 / decay."
BOXES = ((Method.ADAMW, Claim("decay-box-adamw", BOX, XIE)), (Method.LION, Claim("decay-box-lion", BOX, LION)))


def _networks() -> Iterator[Prediction]:
    """Linear networks, each with a norm of its own on the functions that it computes."""
    source = f"{GUNASEKAR_NETWORKS}; {LYU}"
    limit = "The predictor converges in direction to the largest margin in the network's own norm"
    order = "The predictor is closer to the network's own margin than to that of another norm"
    groups = (
        (
            (Method.GRADIENT_DESCENT, Method.NORMALIZED),
            Claim("network-norm", f"{limit}.", source),
            Claim("network-norm-order", f"{order}.", source),
        ),
        (
            (Method.MOMENTUM,),
            Claim("network-norm-momentum", f"{limit}, under momentum too.", source, Basis.CONJECTURE),
            Claim("network-norm-momentum-order", f"{order}, under momentum too.", source, Basis.CONJECTURE),
        ),
    )
    for task, norm, other in (
        ("linear_geometry", "l2", "l1"),
        ("linear_geometry[network=diagonal]", "l1", "l2"),
        ("linear_geometry[network=convolutional]", "fourier_l1", "l2"),
    ):
        ratio, value = f"{norm}_margin_ratio", Measured(f"{other}_margin_ratio")
        for methods, to_limit, in_order in groups:
            yield Prediction(task, methods, ratio, Relation.EQUALS, 1.0, LIMIT, to_limit)
            yield Prediction(task, methods, ratio, Relation.AT_LEAST, value, 0.0, in_order)


def _small_batches() -> Iterator[Prediction]:
    """Of single samples in cyclic order; on larger batches no theorem says where Adam ends."""
    adam = (Method.ADAM,)
    leaves = Claim(
        "single-samples-adam-order", "On single samples Adam leaves the l_inf margin: it has more of this one.", BAEK
    )
    for data, norm, claim, unmet in (
        (
            "",
            "fixed_point",
            Claim(
                "single-samples-adam",
                "On single samples Adam converges in direction to the largest margin in a norm that is a fixed point.",
                BAEK,
            ),
            "proved for a proxy, in the limit of beta2 to 1",
        ),
        (
            "[data=rademacher]",
            "l2",
            Claim(
                "single-samples-adam-rademacher",
                "On single samples of signs Adam converges in direction to the largest margin in the l2 norm.",
                BAEK,
            ),
            "",
        ),
    ):
        task, ratio = f"stochastic_margin{data}", f"{norm}_margin_ratio"
        conditions = "; ".join(filter(None, (unmet, LOGARITHMIC)))
        yield Prediction(task, adam, ratio, Relation.EQUALS, 1.0, LIMIT, claim, conditions)
        other = Measured("linf_margin_ratio")
        yield Prediction(task, adam, ratio, Relation.AT_LEAST, other, 0.0, leaves, conditions)
    topic, where = "batches", "on batches"
    euclidean = (
        direction(topic, Method.GRADIENT_DESCENT, Method.LION, NACSON_STOCHASTIC, where=where),
        direction(
            topic,
            Method.MOMENTUM,
            Method.LION,
            WANG,
            unmet="proved for batches that are drawn with replacement",
            where=where,
        ),
    )
    signum = direction(
        topic,
        Method.LION,
        Method.GRADIENT_DESCENT,
        BAEK,
        Basis.CONJECTURE,
        "proved for Signum with momentum near 1",
        where=where,
    )
    for variant in ("", "[batch=8]", "[data=rademacher]"):
        task = f"stochastic_margin{variant}"
        yield from own_norm(task, "l2_margin_ratio", euclidean, LOGARITHMIC)
        yield from own_norm(task, "linf_margin_ratio", (signum,), LOGARITHMIC)


def _with_epsilon() -> Iterator[Prediction]:
    """Adam before and after its gradients have fallen below its epsilon."""
    above = Claim("above-epsilon", "While gradients are above epsilon Adam approaches the l_inf margin.", ZHANG)
    growth, more, rises, falls = (
        Claim(f"below-epsilon-{name}", statement, WANG_ADAPTIVE)
        for name, statement in (
            ("growth", "Below epsilon Adam's weights grow along the separator of largest l2 margin."),
            ("order", "Below epsilon they grow rather along it than along that of largest l_inf margin."),
            ("l2-rises", "Below epsilon the l2 margin rises."),
            ("linf-falls", "Below epsilon the l_inf margin falls."),
        )
    )
    for variant in ("[epsilon=0.001]", "", "[epsilon=1e-08]"):
        task, adam = f"adam_epsilon{variant}", (Method.ADAM,)
        crossing = "a limit that is ended by the crossing"
        yield Prediction(task, adam, "linf_at_crossing", Relation.EQUALS, 1.0, LIMIT, above, crossing)
        yield Prediction(task, adam, "l2_growth", Relation.EQUALS, 1.0, LIMIT, growth)
        for measure, relation, other, claim in (
            ("l2_growth", Relation.AT_LEAST, "linf_growth", more),
            ("l2_at_crossing", Relation.AT_MOST, "l2_margin_ratio", rises),
            ("linf_at_crossing", Relation.AT_LEAST, "linf_margin_ratio", falls),
        ):
            yield Prediction(task, adam, measure, relation, Measured(other), 0.0, claim)


def _homogeneous() -> Iterator[Prediction]:
    """KKT points of the largest margin in the norm in which a method's step is steepest."""
    flow, smooth = "proved for steps that go to 0", "proved for smooth networks and steps that go to 0"
    for methods, name, source, unmet in (
        ((Method.GRADIENT_DESCENT, Method.NORMALIZED), "kkt-descent", f"{LYU}; {TSILIVIS}", flow),
        ((Method.MOMENTUM,), "kkt-momentum", GRONICH, smooth),
        ((Method.SIGN,), "kkt-sign", TSILIVIS, flow),
        ((Method.ADAM,), "kkt-adam", GRONICH, smooth),
        ((Method.MUON,), "kkt-muon", GRONICH, smooth),
    ):
        norm = NORMS[methods[0]]
        statement = f"The direction converges to that of a KKT point of the largest margin in the {norm} norm."
        yield Prediction(
            "homogeneous_margin",
            methods,
            f"{norm.replace('_', '')}_kkt_residual",
            Relation.AT_MOST,
            LIMIT,
            0.0,
            Claim(name, statement, source),
            unmet,
        )
    for methods, norm, other, source in (
        ((Method.SIGN, Method.ADAM), "linf", Method.GRADIENT_DESCENT, TSILIVIS),
        ((Method.GRADIENT_DESCENT, Method.MOMENTUM), "l2", Method.SIGN, f"{LYU}; {TSILIVIS}"),
    ):
        residual, statement = f"{norm}_kkt_residual", f"Closer to a KKT point in the {norm} norm than {other} is."
        claim = Claim(f"kkt-{norm}-order", statement, source, Basis.CONJECTURE)
        yield Prediction(
            "homogeneous_margin", methods, residual, Relation.AT_MOST, Measured(residual, other), 0.0, claim
        )


def _predictions() -> Iterator[Prediction]:
    # The logarithm of the loss is no matter on the logistic loss itself.
    plain = tuple(replace(each, unmet="") for each in EUCLIDEAN)
    for task, euclidean, unmet in (
        ("max_margin", EUCLIDEAN, ""),
        ("max_margin[objective=logistic]", plain, LOGARITHMIC),
    ):
        yield from own_norm(task, "l2_margin_ratio", euclidean, unmet)
        yield from own_norm(task, "linf_margin_ratio", ENTRYWISE, unmet)
    yield from matrix_margins("spectral_margin", EUCLIDEAN, ENTRYWISE, SPECTRAL)
    for truth in ("", "[truth=sparse]", "[truth=orthogonal]", "[truth=rank_one]"):
        yield from matrix_margins(f"teacher_geometry{truth}", EUCLIDEAN, ENTRYWISE, SPECTRAL)
    for task, methods, claim in TEACHERS:
        value = Measured("test_error", Method.GRADIENT_DESCENT)
        yield Prediction(task, methods, "test_error", Relation.AT_MOST, value, 0.0, claim)
    for task in ("linf_box", "spectral_ball"):
        for method, claim in BOXES:
            yield Prediction(task, (method,), "box_distance", Relation.AT_MOST, LIMIT, 0.0, claim)
    yield from _networks()
    yield Prediction(
        "homogeneous_margin",
        (Method.GRADIENT_DESCENT,),
        "path_margin_ratio",
        Relation.EQUALS,
        1.0,
        LIMIT,
        Claim(
            "variation-margin",
            "A wide two-layer network finds the largest margin of the variation norm.",
            "Chizat and Bach 2020, arXiv:2002.04486",
        ),
        "proved for infinite width; at finite width only a KKT point is",
    )
    yield Prediction(
        "homogeneous_growth",
        (Method.GRADIENT_DESCENT, Method.NORMALIZED),
        "normalised_margin",
        Relation.AT_LEAST,
        Measured("normalised_margin", task="homogeneous_growth[log_loss=-4.6]"),
        0.0,
        Claim("margin-grows", "The normalised margin grows while the loss falls on, after separation.", LYU),
        retrospective=True,
    )
    yield from _small_batches()
    yield from _with_epsilon()
    yield from _homogeneous()


PREDICTIONS = tuple(_predictions())
