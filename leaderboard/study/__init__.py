"""The factorial study: which factor decides which property of a solution, and how universally.

`effects` says how much of a property each factor explains, `universality` whether submissions rank alike on all tasks,
`prediction` which measure foretells generalization, and `claims` puts the field's claims to a test that was fixed
before the runs. All are functions of one frame: a row per lane, with a column per factor, `seed`, and the measures.
`findings` runs them all, `sections` says what was found, `report` and the site's page show it.
"""
