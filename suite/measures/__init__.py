"""Measures: a solution in, named numbers out. Every measure declares its kind, unit, direction, invariances and source.

``measure(model, data, ["lambda_max", "hessian_trace"])`` works on any trained module, ``measure_all(model, data)``
takes all that can be taken, ``measures()`` lists them; a new measure is one function marked with `declare`.
"""

from suite.estimate import Estimate
from suite.measures.context import MATCHED_LOSS, MeasureContext
from suite.measures.given import unwrapped, without_prefixes
from suite.measures.measurement import Report, measure, measure_all
from suite.measures.norms import effective_rank_of
from suite.measures.path_norm import has_path_norm, margins
from suite.measures.registry import Measure, declare, explain, find_measure, listing, measures

__all__ = [
    "MATCHED_LOSS",
    "Estimate",
    "Measure",
    "MeasureContext",
    "Report",
    "declare",
    "effective_rank_of",
    "explain",
    "find_measure",
    "has_path_norm",
    "listing",
    "margins",
    "measure",
    "measure_all",
    "measures",
    "unwrapped",
    "without_prefixes",
]
