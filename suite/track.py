"""Tracks: a list of tasks with seeds and tuning budget. No torch import."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from suite.errors import InputError

TUNING_SEEDS_FROM = 10_000
"""Tuning seeds start here and scoring seeds at 0, so that the two never meet."""


@dataclass(frozen=True)
class Track:
    """tasks by name; `seeds` lanes are scored per task; `trials` settings are tried on `tuning_seeds` other seeds."""

    name: str
    tasks: tuple[str, ...]
    seeds: int
    trials: int
    tuning_seeds: int
    description: str


QUICK = (
    "min_norm_regression",
    "adaptive_trap",
    "benign_overfitting",
    "sobolev_interpolation",
    "max_margin",
    "spectral_margin",
    "sparse_regression",
    "matrix_completion",
    "valley_scalar",
    "univariate_relu",
    "mnist5k_mlp",
    "mnist5k_bad_start",
)

THEORY = (
    "min_norm_regression",
    "init_memory",
    "adaptive_trap",
    "benign_overfitting",
    "sobolev_interpolation",
    "max_margin",
    "max_margin[objective=logistic]",
    "spectral_margin",
    "linf_box",
    "sparse_regression[alpha=1.0]",
    "sparse_regression",
    "sparse_regression[alpha=0.01]",
    "late_phase_sparse",
    "matrix_completion[depth=1]",
    "matrix_completion",
    "matrix_completion[depth=3]",
    "matrix_completion[init=1.0]",
    "linear_geometry",
    "linear_geometry[network=diagonal]",
    "linear_geometry[network=convolutional]",
    "linear_convolution",
    "linear_convolution[network=full]",
    "valley_scalar",
    "valley_sparse",
    "valley_relu",
    "homogeneous_margin",
    "homogeneous_growth[log_loss=-4.6]",
    "homogeneous_growth",
    "univariate_relu",
    "univariate_relu[scale=3.0]",
    "univariate_relu[depth=4]",
    "spectral_bias",
    "teacher_student",
    "teacher_student[scale=1.0]",
    "simplicity_bias",
    "sparse_parity",
    "modular_addition",
    "edge_of_stability",
)
"""Every ground-truth task, with the variants at which theory says that the bias changes."""

FULL = (
    *THEORY,
    "mnist5k_mlp",
    "mnist5k_bad_start",
    "mnist_mlp",
    "mnist_cnn[subset=10000]",
    "mnist_noisy[subset=10000]",
    "cifar10_cnn[subset=2000]",
    "cifar10_cnn[batch=200,subset=2000]",
    "cifar10_resnet[subset=2000]",
    "cifar10_bad_start[subset=2000]",
)

TRACKS = {
    track.name: track
    for track in (
        Track("smoke", ("min_norm_regression", "adaptive_trap"), 2, 2, 1, "does everything run: seconds"),
        Track("quick", QUICK, 3, 4, 2, "a first true table on a laptop: minutes"),
        Track("theory", THEORY, 5, 4, 2, "every task with an oracle, and the variants that decide the bias"),
        Track("full", FULL, 10, 8, 3, "the table to publish: a night on a laptop"),
    )
}


def find_track(name: str) -> Track:
    """The track `name`; an unknown one raises InputError with the nearest name."""
    if name not in TRACKS:
        near = difflib.get_close_matches(name, TRACKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TRACKS)}."
        raise InputError(f"There is no track {name!r}: {hint}")
    return TRACKS[name]
