"""What the checks of a quick run cost: ``python -m benchmarks.checks`` (five minutes of one core).

One unit of every task of the quick track, of one of the default submissions that is drawn by chance, is carried out in
a process forked for it, and the processor's time that its checks take is counted where they are called: so both parts
of a share are of one run, and other work on the machine moves both. The shares are averaged with the seconds that the
default submissions take on the task, as the shipped log tells. The checks:

- *lanes*: whether a program, and its optimizer, can be batched, lanes against an ordinary loop to the last step, one
  lane alone, a direct step of one of torch's optimizers against its own;
- *tapes*: what is played from a tape, computed now and then as well;
- *probe*: what an optimizer does beside following its gradients (the measured daggers); in one unit of a task;
- *state*: settings and variables that runs share, looked at and put back; plain data as the answer of training;
- *processes*: one for the unit, a second one for training. They are timed by themselves, on a unit of `adaptive_trap`
  that is carried out in two processes and in none, in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from leaderboard.analysis.baselines import BASELINES
from leaderboard.commands.run import DEFAULT
from suite.engine.costs import Costs
from suite.engine.plan import make_plan, planned_entries
from suite.kernels.malloc import collapse
from suite.sandbox.child import in_child
from suite.storage.log import read
from suite.tracks import find_track
from suite.training import loop, tape
from suite.training.direct_steps import DirectSteps
from suite.training.equivalence import EquivalenceCheck
from suite.training.global_state import GlobalState
from suite.training.loop import warm_up
from suite.training.vmapped import LaneCopy
from suite.trials import evaluate
from suite.trials.evaluate import run_unit
from suite.trials.resolved import load_data, load_ground
from suite.trials.unit import Unit

Kinds = dict[str, tuple[tuple[Any, tuple[str, ...]], ...]]

KINDS: Kinds = {
    "lanes": (
        (loop, ("supports_vmap", "supports_vmapped_steps", "_as_if_alone")),
        (LaneCopy, ("__init__", "note", "require_same_step")),
        (DirectSteps, ("_ordinary_step", "_prove")),
        (
            EquivalenceCheck,
            ("__init__", "before_step", "after_step", "in_closures", "before_closures", "after_closures"),
        ),
    ),
    "tapes": ((tape._Played, ("_prove",)),),
    "probe": ((loop, ("probe_behavior",)),),
    "state": ((GlobalState, ("__init__", "changed", "restore")), (evaluate, ("encode", "decode"))),
}
"""The functions that check, by where they are found."""


def _clock_seconds() -> tuple[float, float]:
    """What counting one call takes: the part that is counted with the call, and the whole."""
    spent: Counter[str] = Counter()
    empty = mock.Mock(spec=["call"])
    empty.call = lambda: None
    calls, begin = 20_000, time.process_time()
    with counted(spent, {"": ((empty, ("call",)),)}):
        for _ in range(calls):
            empty.call()
    return spent[""] / calls, (time.process_time() - begin) / calls


@contextlib.contextmanager
def counted(spent: Counter[str], kinds: Kinds) -> Iterator[Counter[str]]:
    """While it lasts, add what each kind of checks takes to `spent`; one within another counts for the outer one.

    Yields:
        how many calls of a kind there were.
    """
    inside = False
    calls: Counter[str] = Counter()

    def timed(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:
                return function(*args, **kwargs)
            calls[kind] += 1
            inside, begin = True, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                inside = False
                spent[kind] += time.process_time() - begin  # type: ignore[assignment]

        return call

    with contextlib.ExitStack() as stack:
        for kind, places in kinds.items():
            for owner, names in places:
                for name in names:
                    stack.enter_context(mock.patch.object(owner, name, timed(kind, getattr(owner, name))))
        yield calls


def units(seed: int) -> dict[str, tuple[str, Unit, int]]:
    """Task -> a submission, the unit of its first search (a scoring one where scored runs are units of their own), and
    the number of all units of the submission on the task."""
    chance, track = random.Random(seed), find_track("quick")
    drawn = {}
    for task in track.tasks:
        plan = make_plan([chance.choice(DEFAULT)], [task], track)
        entries = planned_entries(plan, Costs())
        unit = (entries[0].tuning() if entries[0].in_one else entries[0].scoring())[0]
        count = sum(1 if entry.in_one else len(entry.tuning()) + len(entry.scoring()) for entry in entries)
        drawn[task] = plan.submissions[0].submission.name, unit, count
    return drawn


def seconds_of_tasks() -> Counter[str]:
    """What the default submissions take on every task, by the shipped log."""
    seconds: Counter[str] = Counter()
    for record in read(BASELINES / "quick.jsonl").records:
        if record["submission"] in DEFAULT:
            seconds[record["task"]] += record["unit_seconds"] or 0.0
    return seconds


def spent_on(unit: Unit) -> dict[str, float]:
    """Seconds of the processor's time that a unit takes without processes of its own, as ``whole``, and its checks.

    What counting takes is in neither: some checks are called in every step, and return at once.
    """

    def work() -> bytes:
        spent: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        in_call, around_call = _clock_seconds()
        with counted(spent, KINDS) as calls, mock.patch.object(evaluate, "is_child", return_value=False):
            begin = time.process_time()
            run_unit(unit)
            whole = time.process_time() - begin - calls.total() * around_call
        return json.dumps({"whole": whole, **{k: spent[k] - calls[k] * in_call for k in KINDS}}).encode()

    answer: dict[str, float] = json.loads(in_child(work))
    return answer


def processes_seconds(pairs: int) -> float:
    """Seconds of the processor's time that the two processes of a unit take; the median of so many pairs."""
    plan = make_plan(["sgd"], ["adaptive_trap"], find_track("smoke"))
    unit = planned_entries(plan, Costs())[0].tuning()[0]
    load_ground(unit)

    def in_processes() -> None:
        in_child(lambda: b"" if run_unit(unit) else b"-")

    def seconds() -> float:
        used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(each.ru_utime + each.ru_stime for each in used)

    def used(work: Callable[[], object]) -> float:
        before = seconds()
        work()
        return seconds() - before

    used(lambda: run_unit(unit))
    collapse()  # as a worker does
    return statistics.median(used(in_processes) - used(lambda: run_unit(unit)) for _ in range(pairs))


def main() -> None:
    """Print a row for every task, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="Of the draw of submissions.")
    parser.add_argument("--pairs", type=int, default=31, help="Of readings of what two processes take.")
    options = parser.parse_args()
    warm_up()
    processes = processes_seconds(options.pairs)
    weights, total = seconds_of_tasks(), Counter[str]()
    kinds = (*KINDS, "processes")
    print(f"The two processes of a unit: {processes:.3f} s\n")
    print("| task | submission | seconds | " + " | ".join(kinds) + " | together |")
    print("| --- | --- |" + " ---: |" * (len(kinds) + 2))
    for task, (name, unit, count) in units(options.seed).items():
        load_data(unit)
        spent = spent_on(unit) | {"processes": processes}
        probe = spent["probe"] / count
        whole = spent.pop("whole") + processes - spent["probe"] + probe
        found = {kind: (probe if kind == "probe" else spent[kind]) / whole for kind in kinds}
        found["together"] = sum(found.values())
        for kind, share in found.items():
            total[kind] += weights[task] * share  # type: ignore[assignment]
        cells = " | ".join(f"{share:.1%}" for share in found.values())
        print(f"| `{task}` | {name} | {whole:.2f} | {cells} |", flush=True)
    whole = sum(weights[task] for task in find_track("quick").tasks)
    print("| mean | | | " + " | ".join(f"{share / whole:.1%}" for share in total.values()) + " |")


if __name__ == "__main__":
    main()
