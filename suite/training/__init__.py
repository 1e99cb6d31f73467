"""Trains any torch optimizer on many seeds at once, each exactly as an ordinary loop would."""

from suite.training.loop import train
from suite.training.optimizer_factory import Budget, make_optimizer
from suite.training.run import Stepping, TrainingResult, TrainingRun
from suite.training.step_protocol import common_schedule

__all__ = ["Budget", "Stepping", "TrainingResult", "TrainingRun", "common_schedule", "make_optimizer", "train"]
