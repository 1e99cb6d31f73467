"""Finding a submission and fitting it to a task."""
