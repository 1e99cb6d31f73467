"""Exact solutions, by closed form or a convex solver, one file per kind.

Arrays are float64 numpy; n samples, d features. Each function states the problem that it solves and who showed that an
algorithm's bias selects its solution. A solver that fails raises `OracleError` with its name and status: an oracle is
exact or it is an error, never a silent NaN.
"""
