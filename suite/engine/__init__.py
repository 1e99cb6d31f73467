"""Carries a plan out: in this process, on worker processes, or on a cluster, by one code path.

plan.py        what to run, and the units of work that it consists of
costs.py       what a unit costs, from what is recorded
driver.py      longest first, retries, limits; alone writes the log
executors.py   where units run: `local[:N]` and `dask[:SCHEDULER]`
worker.py      a worker process: crashes, hangs and memory use of a call stay inside it
lock.py        excludes a second run on the same results directory

`executors` and `worker` import no torch, so that workers start while the driver is still importing it.
"""
