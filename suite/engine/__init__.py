"""Running a plan: on this process, on worker processes, or on a cluster, by one code path.

plan.py      what to run, and the units that it comes to
costs.py     what a unit costs, from what is recorded
run.py       the driver: longest first, retries, limits, and the only writer of the log
engines.py   the executors that carry units: `local[:N]` and `dask[:SCHEDULER]`
child.py     a process that runs one unit at a time, and whose death, hanging and memory are its own
lock.py      two runs on one results directory exclude each other

`engines` and `child` import no torch, so that workers start while the driver is still importing it.
"""
