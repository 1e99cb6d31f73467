"""The reference models of the tasks, one file per kind."""
