"""Records to numbers: scores, intervals, ranks, comparisons.

Nothing is imported here: pandas takes longer to import than a command's help should take to print.
"""
