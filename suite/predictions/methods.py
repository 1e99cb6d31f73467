"""The methods that theory speaks of, and which submission is one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from suite.errors import InputError
from suite.literals import split


class Method(StrEnum):
    """A method of optimization, as theorems name it: what a step is, whatever the step size."""

    GRADIENT_DESCENT = "gradient descent"
    MOMENTUM = "momentum"
    NESTEROV = "Nesterov momentum"
    NORMALIZED = "normalized descent"
    NORMALIZED_MOMENTUM = "normalized momentum"
    SAM = "SAM"
    SIGN = "sign descent"
    LION = "Lion"
    ADAM = "Adam"
    ADAMW = "AdamW"
    MUON = "Muon"
    SOAP = "SOAP"


NORMS = {
    **dict.fromkeys((Method.GRADIENT_DESCENT, Method.MOMENTUM, Method.NESTEROV, Method.SAM), "l2"),
    **dict.fromkeys((Method.NORMALIZED, Method.NORMALIZED_MOMENTUM), "l2"),
    **dict.fromkeys((Method.SIGN, Method.LION, Method.ADAM, Method.ADAMW), "l_inf"),
    **dict.fromkeys((Method.MUON, Method.SOAP), "spectral"),
}
"""The norm in which a step is steepest: without averages over steps sign descent, Adam and Lion step along the signs of
the gradient, Muon and SOAP along its orthogonal factor (Bernstein and Newhouse 2024, arXiv:2409.20325)."""

SUBMISSIONS = {
    "sgd": Method.GRADIENT_DESCENT,
    "momentum": Method.MOMENTUM,
    "nesterov": Method.NESTEROV,
    "normalized": Method.NORMALIZED,
    "normalized_momentum": Method.NORMALIZED_MOMENTUM,
    "sam": Method.SAM,
    "sign": Method.SIGN,
    "lion": Method.LION,
    "adam": Method.ADAM,
    "adamw": Method.ADAMW,
    "muon": Method.MUON,
    "soap": Method.SOAP,
}
"""The methods that the built-in submissions declare, by the names of their files.

Not in these files: a submission's hash is that of its file, and would say that another optimizer made its records."""

STEP_SIZES = frozenset({"lr", "adamw_lr"})
"""Hyper-parameters that may be given by name, as in ``sgd[lr=0.1]``, without making another method of a submission."""


def method_of(record: Mapping[str, Any]) -> Method | None:
    """Which method stepped the weights of a run; None where theory has no name for it, or its submission claims none.

    By the field `method` of its record, and by `placement`, how many weights each algorithm stepped: where Muon left
    some weights to AdamW the run is of neither; where it left all of them (weights that are no matrix) it is Adam's. In
    records of before these fields built-in names stand for methods, and Muon's runs, which do not say, for none.
    """
    stated = record["method"] if "method" in record else method_by_name(record["submission"])
    if stated not in set(Method):
        return None
    if (method := Method(stated)) is Method.MUON:
        placement = record.get("placement", {})
        names = {"Muon": Method.MUON, "AdamW": Method.ADAM}
        return names.get(next(iter(placement))) if len(placement) == 1 else None
    return method


def with_settings(method: str | None, settings: Collection[str]) -> str | None:
    """What a submission of `method` is when hyper-parameters of these names are given: only step sizes leave it one."""
    return method if STEP_SIZES.issuperset(settings) else None


def method_by_name(submission: str) -> str | None:
    """The method of a built-in name, with the hyper-parameters that it was given: ``sgd[lr=0.1]``."""
    name, _, options = submission.partition("[")
    try:
        keys = {option.partition("=")[0].strip() for option in split(options.removesuffix("]"))}
    except InputError:
        return None
    return with_settings(SUBMISSIONS.get(name), keys)
