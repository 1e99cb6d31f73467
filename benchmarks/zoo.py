"""Which optimizers of the collections run unmodified: ``python -m benchmarks.zoo > docs/zoo.md`` (an hour).

Every class is given to ``lowlands run module:Class --track smoke`` as a user would give it: in a process of its own,
under a time limit, with the default space for its step size. What counts is whether it trains, not how well: a run
that diverges or misses the target loss is a result, one that raises is a failure. The collections are the extra `zoo`.

heavyball's compiler is off (its `compile_mode`): it takes minutes for a class, and changes rounding alone.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from leaderboard.cli import main as command
from suite.namesakes.collections import COLLECTIONS, installed, module_of
from suite.namesakes.transforms import TRANSFORMS
from suite.storage.log import read
from suite.storage.record import Record

NOT_ENTERED: Mapping[str, str] = {
    "torch.optim:SparseAdam": "takes sparse gradients alone, and no network of the suite has any",
    "heavyball:PSGDBase": "a base class without a step",
    "heavyball:SOAPBase": "a base class without a step",
}
"""Classes that are no optimizers of dense networks, and why: they do not count."""

EXPLAINED: Mapping[str, str] = {
    "pytorch_optimizer:LOMO": "has no step: `fused_backward` takes the backward pass over",
    "pytorch_optimizer:AdaLOMO": "has no step: `fused_backward` takes the backward pass over",
    "pytorch_optimizer:SafeFP16Optimizer": "a wrapper for half precision without `param_groups`",
    "pytorch_optimizer:CPUOffloadOptimizer": "needs CUDA",
    "heavyball:SAMWrapper": "wraps heavyball's own optimizers alone: its `train` calls theirs",
    "heavyball:SplitOpt": "takes no parameters, but other optimizers with theirs",
}
"""Why some cannot run, where the message of the exception does not tell."""

TRACK = "smoke"
SECONDS = 600.0
OUTPUT = "output.txt"

WORKS, ARGUMENT, CANNOT = "works", "needs an argument", "cannot"


@dataclass(frozen=True)
class Outcome:
    """What became of one class.

    result: `WORKS`, `ARGUMENT` or `CANNOT`. note: which argument, or why not. met, runs: how many of the scored runs
    reached the target loss. stepping: how its runs were stepped.
    """

    name: str
    result: str
    note: str = ""
    met: int = 0
    runs: int = 0
    stepping: str = ""


def classes(module: str) -> list[str]:
    """The names of the optimizers that the collection `module` itself defines: classes with `step` and `zero_grad`.

    optax has no classes: its transforms are entered as torch optimizers.
    """
    found = importlib.import_module(module)
    if module.startswith("optax"):
        return [name for name in sorted(TRANSFORMS) if name in vars(found)]
    return [
        name
        for name, made in sorted(vars(found).items())
        if inspect.isclass(made)
        and f"{made.__module__}.".startswith(f"{module}.")
        and all(callable(getattr(made, method, None)) for method in ("step", "zero_grad"))
        and not name.startswith("_")
        and made.__name__ != "Optimizer"
        and f"{module}:{name}" not in NOT_ENTERED
    ]


def entered(name: str) -> str:
    """What the command is given for ``module:Class``."""
    module, _, attribute = name.partition(":")
    return f"suite.namesakes.transforms:{attribute}" if module.startswith("optax") else name


def enter(name: str, seconds: float = SECONDS) -> Outcome:
    """Run ``module:Class`` through the smoke track in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    # The server imports once what every process needs: most take longer to import than to train.
    context.set_forkserver_preload(["leaderboard.cli", "suite.trials.evaluate", "suite.engine.driver", *_importable()])
    with tempfile.TemporaryDirectory(prefix="zoo-", ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_run, args=(name, folder))
        process.start()
        process.join(seconds)
        late = process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # compilers that it started end with it
        process.join()
        records = read(Path(folder) / f"{TRACK}.jsonl").records
        error = _last_line(Path(folder) / OUTPUT) if process.exitcode else None
    return judge(name, records, f"not done after {seconds:g} s" if late else error)


def _run(name: str, folder: str) -> None:
    """What a process does: the command, with its output in a file."""
    os.setsid()
    with (Path(folder) / OUTPUT).open("w") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    if installed("heavyball"):
        importlib.import_module("heavyball.utils").compile_mode = None
    command(["run", entered(name), "--track", TRACK, "--engine", "local:0", "--results", folder])


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("Error:")), lines[-1] if lines else "no message")


def _importable() -> list[str]:
    return [module for module in COLLECTIONS if installed(module)]


def judge(name: str, records: Sequence[Record], error: str | None) -> Outcome:
    """What `records` of the class, and the `error` that ended its run if one did, come to."""
    failed = [record["reason"] for record in records if record["status"] == "failed"]
    why = error or (failed[0] if failed else None)
    if why is not None:
        missing = re.search(r"missing \d+ required (?:positional|keyword-only) arguments?: (.+?)\)?\.?$", why)
        return Outcome(name, ARGUMENT, missing[1]) if missing else Outcome(name, CANNOT, EXPLAINED.get(name, why))
    scored = [record for record in records if record["phase"] == "score"]
    met = sum(record["converged"] for record in scored)
    return Outcome(name, WORKS, "", met, len(scored), ", ".join(sorted({record["stepping"] for record in records})))


def page(outcomes: Sequence[Outcome]) -> str:
    """`docs/zoo.md`: the shares by collection, then every class with what became of it."""
    return "\n".join(_lines(outcomes))


def _lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    counts = Counter(outcome.result for outcome in outcomes)
    yield from (
        "# Optimizers as people install them",
        "",
        "Every class of these packages is given to `lowlands run module:Class --track smoke`, in a process of its own,",
        f"for at most {SECONDS:g} seconds, and the suite gets no hint about it.",
        "`heavyball` ran with its `compile_mode` off: compiling takes minutes for a class, and changes rounding alone.",
        "`python -m benchmarks.zoo > docs/zoo.md` writes this page; `pip install '.[zoo]'` installs the packages.",
        "",
        f"**{counts[WORKS]} of {len(outcomes)} work unmodified ({counts[WORKS] / len(outcomes):.1%}).** "
        f"Need an argument that the suite cannot know: {counts[ARGUMENT]}. Cannot: {counts[CANNOT]}.",
        "",
        "| collection | version | classes | work | need an argument | cannot |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for module in COLLECTIONS:
        own = Counter(outcome.result for outcome in outcomes if module_of(outcome.name) == module)
        if total := own.total():
            yield f"| `{module}` | {installed(module)} | {total} | {own[WORKS]} | {own[ARGUMENT]} | {own[CANNOT]} |"
    yield from (
        "",
        "*At target* says how many of the four scored runs reached the target loss, with the default space and two",
        "trials: a slow optimizer is a result, not a failure. *Stepped* says how its runs were stepped: `stacked`, all",
        "as one; `per lane`, an instance for each on batched gradients; `rendezvous`, the same with closures; `alone`,",
        "one by one.",
        "",
        "| optimizer | result | at target | stepped |",
        "| --- | --- | --- | --- |",
    )
    yield from map(_row, outcomes)
    yield from ("", "Not entered:", "")
    tried = {module_of(outcome.name) for outcome in outcomes}
    yield from (f"- `{name}`: {why}" for name, why in NOT_ENTERED.items() if module_of(name) in tried)


def _row(outcome: Outcome) -> str:
    if outcome.result == WORKS:
        return f"| `{outcome.name}` | {WORKS} | {outcome.met}/{outcome.runs} | {outcome.stepping} |"
    note = outcome.note.replace("|", "\\|")
    return f"| `{outcome.name}` | {outcome.result}: {note} | | |"


def results(text: str) -> dict[str, str]:
    """Optimizer -> result, as the page `text` states them."""
    kinds = "|".join(re.escape(kind) for kind in (WORKS, ARGUMENT, CANNOT))
    return dict(re.findall(rf"^\| `([\w.]+:\w+)` \| ({kinds})", text, re.MULTILINE))


def versions(text: str) -> dict[str, str]:
    """Collection -> version, as the page `text` states them."""
    return dict(re.findall(r"^\| `([\w.]+)` \| ([\w.]+) \| \d+ \|", text, re.MULTILINE))


def main() -> None:
    """Run every class, as many at a time as there are cores, and print the page; progress goes to standard error."""
    names = [f"{module}:{name}" for module in COLLECTIONS for name in classes(module)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes: list[Outcome] = []
        for outcome in pool.map(enter, names):
            sys.stderr.write(f"{len(outcomes) + 1}/{len(names)} {outcome.name}: {outcome.result} {outcome.note}\n")
            outcomes.append(outcome)
    sys.stdout.write(page(outcomes) + "\n")


if __name__ == "__main__":
    main()
