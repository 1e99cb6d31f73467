"""Which optimizers of the collections run unmodified: ``python -m benchmarks.zoo > docs/zoo.md`` (an hour).

``--kept FILE`` keeps the outcome of every class there as it is found, so that a run that was ended goes on; with
``--earlier PAGE`` nothing is run, and what is missing comes from an earlier page, marked.

Every class is given to ``lowlands run module:Class --track smoke`` as a user would give it: in a process of its own,
under a time limit, with the default space for its step size. What counts is whether it trains, not how well: a run
that diverges or misses the target loss is a result, one that raises is a failure. The collections are the extra `zoo`.

heavyball's compiler is off (its `compile_mode`): it takes minutes for a class, and changes rounding alone.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from leaderboard.cli import main as command
from suite.entries.habits import habits
from suite.entries.loading import load
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
    "timm.optim:Lookahead": "takes an instance as `base_optimizer`, where others take a class",
    "heavyball:SplitOpt": "takes no parameters, but other optimizers with theirs",
}
"""Why some cannot run, where the message of the exception does not tell."""

TRACK = "smoke"
SECONDS = 600.0
OUTPUT, HABITS = "output.txt", "habits.json"

EARLIER = "°"
OF_EARLIER = "are of the page before, and of the suite of its day; what they do unasked is of today."

WORKS, ARGUMENT, CANNOT = "works", "needs an argument", "cannot"


@dataclass(frozen=True)
class Outcome:
    """What became of one class.

    result: `WORKS`, `ARGUMENT` or `CANNOT`. note: which argument, or why not. met, runs: how many of the scored runs
    reached the target loss. stepping: how its runs were stepped. habits: what it does unasked, as
    `suite.entries.habits.Habits` has it. earlier: whether it is of an earlier page, and of an earlier suite.
    """

    name: str
    result: str
    note: str = ""
    met: int = 0
    runs: int = 0
    stepping: str = ""
    habits: Mapping[str, Any] = field(default_factory=dict)
    earlier: bool = False


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
        seen = Path(folder) / HABITS
        found = json.loads(seen.read_text()) if seen.exists() else {}
    return replace(judge(name, records, f"not done after {seconds:g} s" if late else error), habits=found)


def _run(name: str, folder: str) -> None:
    """What a process does: the command, with its output in a file."""
    os.setsid()
    with (Path(folder) / OUTPUT).open("w") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    if installed("heavyball"):
        importlib.import_module("heavyball.utils").compile_mode = None
    (Path(folder) / HABITS).write_text(json.dumps(_habits(name)))
    command(["run", entered(name), "--track", TRACK, "--engine", "local:0", "--results", folder])


def _habits(name: str) -> dict[str, Any]:
    submission = load(entered(name)).submission
    return asdict(habits(submission, submission.settings(1)[0]))


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
        "*Unasked* says what each does with its defaults (`suite/entries/habits.py`): options of decay, clipping and",
        "warm-up that are not 0; `draws` random numbers; `skips` its first step; `clips`, so that long gradients are",
        "not treated as short ones are; `splits`: steps a vector otherwise than a matrix of the same entries; state in",
        "a lower precision than that of float64 weights; `float32 only`: it raises for such weights. A question mark:",
        "it needs a loss to step, so that its options alone are known.",
        "",
        *_earlier(outcomes),
        _sums(outcomes),
        "",
        "| optimizer | result | at target | stepped | unasked |",
        "| --- | --- | --- | --- | --- |",
    )
    yield from map(_row, outcomes)
    yield from ("", "Not entered:", "")
    tried = {module_of(outcome.name) for outcome in outcomes}
    yield from (f"- `{name}`: {why}" for name, why in NOT_ENTERED.items() if module_of(name) in tried)
    yield from (f"- `{module}`: not all of its classes were tried" for module in COLLECTIONS if module not in tried)


def unasked(found: Mapping[str, Any]) -> str:
    """The habits `found` of one class in a few words."""
    if not found:
        return ""
    words = [f"{key}={value:g}" for key, value in found["options"].items()]
    named = {"draws": "draws", "stands": "skips", "clips": "clips", "splits": "splits"}
    words += [word for key, word in named.items() if found[key]]
    words += [f"{found['narrow']} state"] if found["narrow"] else []
    words += ["float32 only"] if found["refuses"] else [] if found["walked"] else ["?"]
    return ", ".join(words)


def _earlier(outcomes: Sequence[Outcome]) -> list[str]:
    count = sum(outcome.earlier for outcome in outcomes)
    return [f"{EARLIER} {count} rows {OF_EARLIER}", ""] if count else []


def _sums(outcomes: Sequence[Outcome]) -> str:
    seen = [outcome.habits for outcome in outcomes if outcome.result == WORKS and outcome.habits]
    decays = sum(any("decay" in key or key.endswith("wd") for key in found["options"]) for found in seen)
    counts = {
        "decay by default": decays,
        "draw": sum(found["draws"] for found in seen),
        "skip their first step": sum(found["stands"] for found in seen),
        "clip": sum(found["clips"] for found in seen),
        "step vectors otherwise": sum(found["splits"] for found in seen),
        "keep state in a lower precision": sum(bool(found["narrow"]) for found in seen),
        "raise for float64": sum(bool(found["refuses"]) for found in seen),
    }
    return f"Of {len(seen)} that work: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + "."


def _row(outcome: Outcome) -> str:
    if outcome.result == WORKS:
        last = unasked(outcome.habits)
        stepping = f"{outcome.stepping} {EARLIER}" if outcome.earlier else outcome.stepping
        return f"| `{outcome.name}` | {WORKS} | {outcome.met}/{outcome.runs} | {stepping} | {last} |"
    note = outcome.note.replace("|", "\\|") + (f" {EARLIER}" if outcome.earlier else "")
    return f"| `{outcome.name}` | {outcome.result}: {note} | | | |"


def earlier(text: str) -> dict[str, Outcome]:
    """What an earlier page `text` says of each class, without habits."""
    kinds = "|".join(re.escape(kind) for kind in (WORKS, ARGUMENT, CANNOT))
    row = re.compile(rf"^\| `([\w.]+:\w+)` \| ({kinds})(?:: (.*?))? \| (?:(\d+)/(\d+))? ?\| (.*?) ?\|", re.MULTILINE)
    return {
        name: Outcome(
            name,
            kind,
            note.removesuffix(f" {EARLIER}").replace("\\|", "|"),
            int(met or 0),
            int(runs or 0),
            stepping.removesuffix(f" {EARLIER}"),
            earlier=True,
        )
        for name, kind, note, met, runs, stepping in row.findall(text)
    }


def results(text: str) -> dict[str, str]:
    """Optimizer -> result, as the page `text` states them."""
    kinds = "|".join(re.escape(kind) for kind in (WORKS, ARGUMENT, CANNOT))
    return dict(re.findall(rf"^\| `([\w.]+:\w+)` \| ({kinds})", text, re.MULTILINE))


def versions(text: str) -> dict[str, str]:
    """Collection -> version, as the page `text` states them."""
    return dict(re.findall(r"^\| `([\w.]+)` \| ([\w.]+) \| \d+ \|", text, re.MULTILINE))


def kept(path: Path | None) -> dict[str, Outcome]:
    """The outcomes in a file that `main` keeps, the last of each class."""
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    found = [Outcome(**json.loads(line)) for line in lines]
    return {outcome.name: outcome for outcome in found}


def _habits_safely(name: str) -> dict[str, Any]:
    """The habits of one class, for a page that does not run it; none where it cannot be loaded."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return _habits(name)
    except Exception:
        return {}


@click.command()
@click.option("--kept", "path", type=click.Path(path_type=Path), help="Outcomes, a line each: those there are not run.")
@click.option("--earlier", "before", type=click.Path(path_type=Path, exists=True), help="A page for what is missing.")
@click.option("--processes", type=int, default=os.cpu_count(), help="How many at a time.")
def main(path: Path | None, before: Path | None, processes: int) -> None:
    """Run every class and print the page; progress goes to standard error."""
    names = [f"{module}:{name}" for module in COLLECTIONS for name in classes(module)]
    found = kept(path)
    missing = [name for name in names if name not in found]
    if before:
        said = earlier(before.read_text(encoding="utf-8"))
        found |= {name: replace(said[name], habits=_habits_safely(name)) for name in missing if name in said}
        incomplete = {module_of(name) for name in names if name not in found}
        names, missing = [name for name in names if module_of(name) not in incomplete], []
    with ThreadPoolExecutor(processes) as pool:
        for number, outcome in enumerate(pool.map(enter, missing), 1):
            sys.stderr.write(f"{number}/{len(missing)} {outcome.name}: {outcome.result} {outcome.note}\n")
            found[outcome.name] = outcome
            if path:
                with path.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(outcome)) + "\n")
    sys.stdout.write(page([found[name] for name in names]) + "\n")


if __name__ == "__main__":
    main()
