"""The list of measures as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from suite.measures.registry import ALWAYS, INVARIANCES, Measure, find_measure, measures

WIDTH = 120


def _direction(measure: Measure) -> str:
    return {True: "higher", False: "lower", None: "neither"}[measure.higher]


def listing() -> str:
    """One line a measure: name, whether it may be scored, scale, better direction, cost, first sentence."""
    lines = [f"{'measure':30}{'scored':8}{'scale':8}{'better':9}{'cost':>4}  what it is"]
    for m in measures().values():
        scored = "yes" if m.canonical else "no"
        line = f"{m.name:30}{scored:8}{m.scale:8}{_direction(m):9}{m.cost:4.2g}  "
        lines.append(line + textwrap.shorten(m.description, WIDTH - len(line), placeholder=" …"))
    return "\n".join(
        [
            *lines,
            "",
            "scored: no rescaling of layers, neurons or logits can move it. cost: in gradient evaluations.",
        ]
    )


def explain(names: Sequence[str]) -> str:
    """Everything that the measures `names` declare."""
    return "\n\n".join(_explained(find_measure(name)) for name in names)


def _explained(measure: Measure) -> str:
    lines = [
        measure.name,
        f"  {measure.description}",
        f"  unit: {measure.unit}; scale: {measure.scale}; better: {_direction(measure)}",
        f"  cost: {measure.cost:.3g} gradient evaluations on the same data",
        f"  source: {measure.source}",
    ]
    if measure.needs:
        lines.append(f"  needs: {', '.join(sorted(measure.needs))}")
    lines.append("  invariant to:")
    lines += [f"    {name}: {text}" for name, text in INVARIANCES.items() if name in measure.invariances - ALWAYS]
    lines.append(f"    {', '.join(sorted(ALWAYS))}")
    return "\n".join(lines)
