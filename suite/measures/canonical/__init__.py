"""The canonical form of a network: one network for all whose weights differ by a symmetry alone.

Changes of the weights that leave the function alone are found in the calls of the traced network (`trace`), and undone:

    linear maps in a row        their product stands in one of them, the others copy; where a layer between is narrower
                                than both ends (attention), factors U S^½ and S^½ V' of the product's singular values
    constants                   go through linear maps into the last one; what a softmax or a layer norm forgets is
                                dropped; constants that are added to each other are one constant
    redundant inputs            of layers that read a softmax or a one-hot vector, whose sum is 1, or a norm with its
                                gains, are taken out; what all embeddings have in common is a constant
    periods and signs           the constant in a sine or cosine is brought within a quarter of a period, with the sign
                                of what reads it; what reads sigmoids reads them less 1/2, so that they are odd
    normalization               gain and bias are multiplied into the linear maps that follow; batch norm into the one
                                before it
    a stream between norms      is turned to the principal axes of what the norms read

What is left is a choice of signs, an order, a factor for each ReLU neuron, and rotations where axes are degenerate.
Noise that is relative to each weight, or along an axis that may be rotated to the root mean square over it, moves with
all of them: its law does, and with the sign of the weight as a factor, in the order of the neurons' own functions
(`neurons`), its draws do too, but for degenerate axes.

Why products. Of ``W2 W1`` with ``W1 -> A W1, W2 -> W2 A^-1`` only the product is the same for all A, and it is a
polynomial in the weights: nothing jumps where its rank falls. Of a narrow layer's product U S V' the balanced factors
(``W2'W2 = W1 W1'``) are the point of least norm in the closure of the orbit (Kempf and Ness 1979). They are continuous
in the product, up to rotations, because S^½ is; hidden directions that one of the two maps ignores have S = 0. Where
the ends of a narrow layer have coordinates of their own, each is measured in units of its root mean square on samples,
so that factors for ReLU neurons do not tilt U and V. Da Silva et al. 2025, arXiv:2505.05409, take a metric on the
quotient instead.
"""

from suite.measures.canonical.network import OBSERVED
from suite.measures.canonical.parts import Form, Unproved, replayed
from suite.measures.canonical.steps import canonical_form

__all__ = ["OBSERVED", "Form", "Unproved", "canonical_form", "replayed"]
