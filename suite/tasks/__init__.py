"""The learning problems: a claim of theory, data that test it, and a reference for the solution that training finds.

A task is one function in a file whose name begins with the family; nothing is registered by hand::

    @task
    def my_task(alpha: float = 0.1) -> Task:
        \"\"\"The question, in one sentence.

        Claim. What theory says, with its papers.

        Data. Samples, model and loss; why this size.

        Norm axis. What is measured, and why these references.
        \"\"\"
        return Task(problem=..., model=..., loss=..., target=Target(1e-6, budget=4_000), ...)

`suite.task.Task` documents the fields. The docstring says why, and cites papers as "Author et al. 2020,
arXiv:1234.56789"; target loss, axes and variants are printed from the code (``lowlands tasks``). What else a task
needs: a line in a track of `suite.tracks`, without which no run includes it; a test in ``tests/suite/tasks`` that
training finds what the claim says; and `docs/tasks.md` printed anew, which a test compares. Data, oracle and initial
weights depend on the seed alone, by `suite.seeding.torch_stream`.
"""

from suite.tasks.registry import (
    data_functions,
    find_task,
    open_task,
    own_file,
    place_of_references,
    task,
    task_functions,
    task_name,
)

__all__ = [
    "data_functions",
    "find_task",
    "open_task",
    "own_file",
    "place_of_references",
    "task",
    "task_functions",
    "task_name",
]
