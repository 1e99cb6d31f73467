"""Measures: a solution in, named numbers out. Every measure declares its unit, direction, invariances and source.

``measure(model, data, ["lambda_max", "hessian_trace"])`` works on any trained module; ``measures()`` lists what there
is; a new measure is one function marked with `declare`.
"""

from suite.estimate import Estimate
from suite.measures.measurement import measure
from suite.measures.registry import Measure, declare, find_measure, measures

__all__ = ["Estimate", "Measure", "declare", "find_measure", "measure", "measures"]
