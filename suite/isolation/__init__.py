"""Running code that nobody has read: optimizers of strangers, each unit in a jailed process of its own.

limits.py   what a jailed process may use
jail.py     starting, bounding and ending one; bubblewrap where it is installed
inside.py   what runs in it: loads the submission, trains, writes weights
outside.py  what asks it: describes a submission, hands over training data, checks and measures what comes back
watch.py    whether the suite or torch was patched inside

The process that trains gets the training part, the initial weights and opaque seeds; neither test data nor labels, no
facts, no oracle, no environment. What it writes is read as JSON and safetensors, never unpickled. The training loss
that decides is computed outside, from the weights.
"""
