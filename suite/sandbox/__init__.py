"""Runs submissions whose code nobody has read in confined processes, and believes little of what they say.

What goes in: an optimizer gets the training part of the data, the initial networks and opaque seeds (`protocol.Job`);
an architecture gets the sizes of inputs and outputs and a seed. There are no test data, no ground truth and no oracle;
the environment is cleared; under bubblewrap there is no network and no file but the installed packages.

What comes out: JSON and safetensors, which are parsed and never unpickled. An optimizer sends weights and counts; an
architecture sends its network as a graph of allowed layers and functions with initial weights.

What is believed: the weights, if they have the network's shapes, and the training loss that the host computes from
them. The counts of steps and gradient evaluations are checked for consistency only; `tamper` finds the ordinary ways of
falsifying them. A network that comes out as data is trained and measured by the host like any other.

The host (`host`) asks and checks; the guest (`guest`) runs the submission; `process` and `limits` confine the guest.
"""

from suite.sandbox.limits import Limits

__all__ = ["Limits"]
