"""Measures: a solution in, named numbers out. Every name's scale, direction and source stands at its function."""
