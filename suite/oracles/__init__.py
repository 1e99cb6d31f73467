"""Exact solutions, by closed form or a convex solver, one file per kind.

The contract of every oracle:

* Arrays are float64 numpy (`solvers.Array`): samples x [n, d], targets or labels y [n], predictors w [d]. Networks are
  torch modules.
* The docstring states the problem that is solved and who showed that an algorithm's bias selects its solution.
* The result is exact, or certified by a bound; a solver that fails raises `OracleError` with its name and status. An
  oracle never returns a silent NaN.

Import from the modules: solvers are loaded when they are first called.
"""
