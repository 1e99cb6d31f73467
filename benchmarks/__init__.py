"""Commands that measure what documentation states: costs, coverage, collections of optimizers. No torch import here."""
