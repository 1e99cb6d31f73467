"""The ledger: every claim of a paper that a task or the study tests, with what was measured and the verdict.

`entries` holds claims against records, `pages` makes tables and the page docs/claims.md of them. Claims and predictions
are data in `suite.predictions`; contrasts and associations, which need the study, in `leaderboard.study`.
"""
