"""asv: the runtime of the training loops, of the measures and of scoring. No torch import here."""
