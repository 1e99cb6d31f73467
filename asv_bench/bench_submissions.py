"""A step of the built-in submissions on the shapes of the suite's networks: time, and bytes of state."""

from __future__ import annotations

from asv_bench.quiet import Quiet
from suite.commands.bench import Stepper, networks
from suite.commands.updates import make_plan
from suite.entries.versions import Version


class SubmissionStep(Quiet):
    """What `lowlands bench` compares, commit by commit."""

    params = (["sgd", "momentum", "adam", "adamw", "sam", "muon"], ["relu_network", "mlp", "cnn"])
    param_names = ("submission", "tensors")
    timeout = 300

    def setup(self, submission: str, tensors: str) -> None:
        version = Version()
        loaded = version.load(submission)
        self.stepper = Stepper(loaded, version, make_plan(loaded), networks()[tensors])
        self.stepper.seconds(3)

    def time_ten_steps(self, submission: str, tensors: str) -> None:
        self.stepper.seconds(10)

    def track_state_bytes(self, submission: str, tensors: str) -> float:
        return max(self.stepper.state_bytes(), 1e-9)

    track_state_bytes.unit = "bytes per weight"
