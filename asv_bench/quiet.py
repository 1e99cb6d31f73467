"""How the times are taken that the gate on runtime compares."""

from __future__ import annotations

import time


class Quiet:
    """Settings under which asv's times repeat, also where other programs want the same cores.

    The processor's time is taken, not the clock's: what waits for a core is not slower code. Rounds in processes of
    their own, each warm before it counts, show what differs from process to process.
    """

    timer = time.process_time
    rounds = 2
    repeat = (2, 5, 2.0)
    sample_time = 0.05
    warmup_time = 0.1
