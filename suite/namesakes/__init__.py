"""Optimizers of one name from several collections, compared with each other and with their papers.

`formulas` are the papers', `algorithms` says which classes claim which name and with which settings they are alike,
`comparison` steps them on the same gradients, and `namesakes.toml` holds all of this as data, with the reasons found.
Gradients are those of small regressions, weights are 8 x 5: nothing here trains.
"""
