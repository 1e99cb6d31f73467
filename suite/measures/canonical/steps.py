"""The steps that bring a network into canonical form, in their order."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from suite.measures.canonical.constants import (
    center,
    fold_constants,
    join_embeddings,
    merge_constants,
    pass_constants_on,
    split_embeddings,
)
from suite.measures.canonical.network import TRACED, TracedNetwork
from suite.measures.canonical.noise import noise_places, noise_scales, tied_operands
from suite.measures.canonical.norms import fold_batch_norms, free_norms, take_out_redundancies
from suite.measures.canonical.parts import Form, Unproved, trained_operands
from suite.measures.canonical.products import find_blocks, multiply
from suite.measures.canonical.relations import check_paths, check_relations
from suite.measures.canonical.streams import turn_streams
from suite.measures.canonical.waves import center_sigmoids, reduce_constants
from suite.measures.context import MeasureContext

SAME = {torch.float64: 1e-7, torch.float32: 1e-2}
"""How far outputs of the canonical form may lie from the network's: rounding of ill-conditioned weights."""


def canonical_form(context: MeasureContext, *, logit_shift: bool = False) -> Form:
    """The canonical form of the network in `context`.

    Args:
        context: the network on its data.
        logit_shift: whether the loss sees no vector that is added to all classes' rows: they then have mean 0.

    Raises:
        Unproved: the network calls functions whose symmetries are not known, or combines known ones in a way that is
            not covered.
    """
    try:
        return _form(TracedNetwork(context, logit_shift))
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        # A network that combines calls in a way that nobody thought of loses the proof, not the number.
        raise Unproved("it combines weights and activations in a way that is not covered") from error


@torch.no_grad()
def _form(net: TracedNetwork) -> Form:
    own = all(_is_parameter(value) for part in net.parts.values() for value in trained_operands(part.site))
    fold_batch_norms(net)
    free_norms(net)
    find_blocks(net)
    check_paths(net)
    check_relations(net)
    means = split_embeddings(net)
    center_sigmoids(net)
    pass_constants_on(net)
    take_out_redundancies(net)
    fold_constants(net)
    merge_constants(net)
    join_embeddings(net, means)
    reduce_constants(net)
    center(net)
    turn_streams(net)
    multiply(net)
    is_own = own and not net.iso and not any(part.changed for part in net.parts.values())
    tied = tied_operands(net)
    form = Form(net.parts, noise_scales(net, tied), [], tied)
    if not is_own:
        _check(net, form)
    return dataclasses.replace(form, places=[*noise_places(net, form)])


def _check(net: TracedNetwork, form: Form) -> None:
    x = net.context.train.x[:TRACED]
    found, expected = form.outputs(net.context, x), net.outputs.detach()
    if net.logit_shift and expected.dim() > 1:
        found, expected = (each - each.mean(1, keepdim=True) for each in (found, expected))
    gap = float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))
    if not gap <= SAME.get(expected.dtype, 1e-2):
        raise Unproved(f"its canonical form has other outputs, by {gap:.2g}")


def _is_parameter(value: Tensor) -> bool:
    return value.is_leaf or (value._base is not None and value._base.is_leaf)
