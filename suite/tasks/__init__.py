"""The tasks; the name of a file begins with its family. A new task is found without registration."""
