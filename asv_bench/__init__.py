"""asv's benchmarks: the runtime of the training loops, of the measures and of scoring.

asv imports every file of this folder, for every commit that it measures, where nothing but that commit's package is
installed. So nothing here imports `tests` or `benchmarks` at the top, and this file imports no torch.
"""
