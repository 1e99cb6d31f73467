"""The tracks, which are lists of tasks with seeds and a tuning budget. No torch import."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from suite.errors import InputError, unknown

TUNING_SEEDS_FROM = 10_000
"""The first tuning seed. Scoring seeds start at 0, so no seed serves both."""

SEEDS_OF_A_SEARCH = 1_000
"""From the first tuning seed of one search to that of the next: no seed serves two searches."""


@dataclass(frozen=True)
class Track:
    """A list of tasks, by name, and how thoroughly they are run.

    Attributes:
        name: what `--track` selects.
        seeds: scored runs per submission and task, where `fewer_seeds` does not say otherwise.
        trials: hyper-parameter settings that are tried before; twice as many where a space has several dimensions.
        tuning_seeds: on how many seeds each setting is tried; none of them is scored.
        searches: how often the search is made, each time with settings and tuning seeds of its own. The scored seeds
            are dealt out to the searches in turn, so that what a score owes to the draw of the search can be told.
        measured_searches: in how many searches, from the first on, every trial is trained to its end and measured, so
            that the expected score of a setting of the space is known, and not only that of the selected one. Selection
            sees nothing of it. Where every setting that trains is scored, it is known without.
        fewer_seeds: by task, where a run costs so much that the track asks for fewer seeds.
        first_seed: the first scored seed.
        fixed: nothing is tuned; every optimizer has its default setting (`Submission.fixed_setting`) on all tasks.
        free_of_step_size: it takes only optimizers that find their step size by themselves.
    """

    name: str
    tasks: tuple[str, ...]
    seeds: int
    trials: int
    tuning_seeds: int
    description: str
    searches: int = 1
    measured_searches: int = 0
    fewer_seeds: Mapping[str, int] = field(default_factory=dict)
    first_seed: int = 0
    fixed: bool = False
    free_of_step_size: bool = False

    def with_seeds(self, seeds: int) -> Track:
        """The track with so many seeds on every task."""
        return replace(self, seeds=seeds, fewer_seeds={})

    def seeds_of(self, task: str) -> int:
        """Scored runs per submission on the task of this name."""
        return self.fewer_seeds.get(task, self.seeds)

    def searches_of(self, task: str) -> int:
        """How many searches a tuned submission makes on the task of this name: none without a seed to be scored on."""
        return min(self.searches, self.seeds_of(task))

    def tuning_seeds_of(self, search: int) -> range:
        """The seeds on which the search of this number tries its settings."""
        first = TUNING_SEEDS_FROM + search * SEEDS_OF_A_SEARCH
        return range(first, first + self.tuning_seeds)

    def scored_seeds_of(self, task: str, search: int, searches: int) -> range:
        """The scored seeds of one of so many searches on a task: every so many-th. There are none beyond them."""
        return range(self.first_seed + search, self.first_seed + self.seeds_of(task), searches)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


QUICK = _names(
    """
    min_norm_regression
    spectral_margin
    sparse_regression
    linear_convolution[network=full]
    valley_scalar valley_sparse valley_relu
    homogeneous_margin
    univariate_relu
    teacher_student
    mnist5k_mlp
    """
)
"""Every family, and every axis on a third of the tasks; `benchmarks/choose_quick.py` chose them from records."""

QUICK_FEWER_SEEDS = {"mnist5k_mlp": 5, "mnist5k_bad_start": 5}
"""A run on digits costs a second, and small tasks train all seeds as one program."""

THEORY = _names(
    """
    min_norm_regression init_memory adaptive_trap benign_overfitting sobolev_interpolation
    max_margin max_margin[objective=logistic] spectral_margin linf_box
    stochastic_margin stochastic_margin[batch=8] stochastic_margin[data=rademacher]
    adam_epsilon adam_epsilon[epsilon=0.001] adam_epsilon[epsilon=1e-08]
    teacher_geometry teacher_geometry[truth=sparse] teacher_geometry[truth=orthogonal] teacher_geometry[truth=rank_one]
    spectral_ball
    sparse_regression[alpha=1.0] sparse_regression sparse_regression[alpha=0.01] late_phase_sparse
    stochastic_sparse
    matrix_completion[depth=1] matrix_completion matrix_completion[depth=3] matrix_completion[init=1.0]
    linear_geometry linear_geometry[network=diagonal] linear_geometry[network=convolutional]
    linear_convolution linear_convolution[network=full]
    valley_scalar valley_sparse valley_relu valley_matrix
    homogeneous_margin homogeneous_growth[log_loss=-4.6] homogeneous_growth
    univariate_relu univariate_relu[scale=3.0] univariate_relu[depth=4] spectral_bias
    teacher_student teacher_student[scale=1.0] rich_mixture rich_mixture[rotation=45.0]
    sparse_parity sparse_parity[inputs=tokens] modular_addition modular_addition[decay=0.001]
    modular_margin neural_collapse
    edge_of_stability edge_of_stability[batch=4] adam_edge
    next_token_margin zipf_bigram zipf_bigram[loss=cross_entropy]
    attention_selection attention_selection[parametrisation=key_query] attention_selection[worth=graded]
    """
)
"""Every task with a ground truth, with the variants at which theory says that the bias changes."""

FULL = THEORY + _names(
    """
    mnist5k_mlp mnist5k_bad_start mnist_mlp mnist_cnn[subset=10000] mnist_noisy[subset=10000]
    cifar10_cnn[subset=2000] cifar10_cnn[batch=200,subset=2000] cifar10_resnet[subset=2000]
    cifar10_bad_start[subset=2000] tiny_lm
    """
)
"""The theory track, image tasks (some with label noise, small batches or an adversarial initialization), and a language
model."""

TRACKS = {
    track.name: track
    for track in (
        Track(
            "smoke",
            ("min_norm_regression", "adaptive_trap"),
            2,
            2,
            1,
            "does everything run: seconds",
            searches=2,
            measured_searches=2,
        ),
        Track(
            "quick",
            QUICK,
            10,
            4,
            1,
            "a first true table on a laptop: minutes",
            searches=2,
            measured_searches=1,
            fewer_seeds=QUICK_FEWER_SEEDS,
        ),
        Track(
            "theory", THEORY, 5, 4, 2, "every task with an oracle, and the variants that decide the bias", searches=2
        ),
        Track(
            "default",
            QUICK,
            10,
            1,
            1,
            "the tasks of quick with one fixed setting: the middle of its step sizes, otherwise its authors' defaults",
            fewer_seeds=QUICK_FEWER_SEEDS,
            fixed=True,
        ),
        Track(
            "untuned",
            QUICK,
            10,
            1,
            1,
            "the same of optimizers without a step size to choose",
            fewer_seeds=QUICK_FEWER_SEEDS,
            fixed=True,
            free_of_step_size=True,
        ),
        Track("full", FULL, 10, 8, 3, "the table to publish: a night on a laptop", searches=2),
    )
}


OWN_SIZES = {"seeds": 10, "trials": 4, "tuning_seeds": 1, "searches": 2}
"""Of a track in a file that does not say otherwise: those of `quick`."""


def read_track(path: Path) -> Track:
    """A track of the user's own, as a TOML file states it::

        tasks = ["min_norm_regression", "my_task.py:spirals"]
        seeds = 5  # and trials, tuning_seeds, searches, measured_searches, description, fewer_seeds, first_seed

    It is named after the file, and so is its log. Files of tasks are named relative to the track's file.

    Raises:
        InputError: the file cannot be read, or is no such track.
    """

    def wrong(what: str) -> InputError:
        return InputError(f"The track {path}: {what}.")

    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise wrong(f"it cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise wrong(f"it is not TOML ({error})") from None
    known = {"tasks", "description", "measured_searches", "fewer_seeds", "first_seed", *OWN_SIZES}
    if others := sorted(given.keys() - known):
        raise wrong(f"there is no {others[0]!r}; it may state {', '.join(sorted(known))}")
    tasks = given.get("tasks")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, str) for task in tasks):
        raise wrong('it needs a list of names, tasks = ["…"]')
    fewer = given.get("fewer_seeds", {})
    sizes = OWN_SIZES | {name: given[name] for name in OWN_SIZES if name in given}
    for name, size in {**sizes, **(fewer if isinstance(fewer, dict) else {"fewer_seeds": fewer})}.items():
        if type(size) is not int or size < 1:
            raise wrong(f"{name} must be a whole number of at least 1, not {size!r}")
    measured = given.get("measured_searches", 0)
    if type(measured) is not int or measured < 0:
        raise wrong(f"measured_searches must be a whole number of at least 0, not {measured!r}")
    first, most = given.get("first_seed", 0), TUNING_SEEDS_FROM - max([sizes["seeds"], *fewer.values()])
    if type(first) is not int or not 0 <= first <= most:
        raise wrong(f"first_seed must be a whole number from 0 to {most:,}, not {first!r}")
    if path.stem in TRACKS or not re.fullmatch(r"[\w.-]+", path.stem):
        raise wrong(f"a track cannot be named {path.stem!r}; rename the file")
    return Track(
        name=path.stem,
        tasks=tuple(dict.fromkeys(_beside(path, task) for task in tasks)),
        description=str(given.get("description", "")),
        measured_searches=measured,
        first_seed=first,
        fewer_seeds={_beside(path, task): seeds for task, seeds in fewer.items()},
        **sizes,
    )


def _beside(track: Path, task: str) -> str:
    """The name of a task in a track's file: a file of tasks is found from the folder of the track."""
    if ".py:" not in task or os.path.isabs(task):
        return task
    return os.path.normpath(track.parent / task)


def find_track(name: str) -> Track:
    """The track of this name, or that of a file ``NAME.toml``; an `InputError` if there is none."""
    if name.endswith(".toml"):
        return read_track(Path(name))
    if name not in TRACKS:
        raise unknown("track", name, TRACKS)
    return TRACKS[name]
