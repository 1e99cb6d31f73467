"""Records to numbers: scores, intervals, ranks, comparisons."""
