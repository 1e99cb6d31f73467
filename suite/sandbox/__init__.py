"""Runs submissions whose code nobody has read in confined processes, and believes little of what they say.

What goes in: an optimizer gets the initial networks, opaque seeds, and losses and gradients at weights of its choice
(`requests`), which the host computes (`service`); the training loop runs in the guest and asks for them (`remote`). An
architecture gets the sizes of inputs and outputs and a seed. There are no data, no ground truth and no oracle; the
environment is cleared; under bubblewrap there is no network and no file but the installed packages.

What comes out: JSON and safetensors, which are parsed and never unpickled. An optimizer says how its runs ended; an
architecture sends its network as a graph of allowed layers and functions with initial weights.

What is believed: of an optimizer, that a run ended and how. Its weights are those at which it last asked for a loss;
the host computes their training loss anew, and knows how many gradients each run has had. `tamper` finds the ordinary
ways of falsifying the rest. A network that comes out as data is trained and measured by the host like any other.

The host (`host`) asks and checks; the guest (`guest`) runs the submission; `process` and `limits` confine the guest.
"""

from suite.sandbox.limits import Limits

__all__ = ["Limits"]
