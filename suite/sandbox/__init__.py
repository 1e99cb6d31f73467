"""Running code that nobody has read, in jailed processes: each unit of an optimizer, each network of an architecture.

limits.py   what a jailed process may use
jail.py     starting, bounding and ending one; bubblewrap where it is installed
inside.py   what runs in it: loads the submission, trains, writes weights
outside.py  what asks it: describes a submission, hands over training data, checks and measures what comes back
watch.py    whether the suite or torch was patched inside
tracing.py  an architecture's network as data, and rebuilding.py the network again, of what vocabulary.py allows

The process that trains gets the training part, the initial weights and opaque seeds; neither test data nor labels, no
facts, no oracle, no environment. What it writes is read as JSON and safetensors, never unpickled. The training loss
that decides is computed outside, from the weights.

An architecture's code runs for no longer than it takes to draw a network. What comes out is a graph of known layers and
functions with its initial weights, which is trained and measured outside as any other.
"""
