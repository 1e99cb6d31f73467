"""The networks of the tasks, one file per kind."""
