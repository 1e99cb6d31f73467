"""Pictures as SVG text, for pages and for files of their own.

Drawn with matplotlib's figure objects alone (no pyplot: nothing global, nothing to close). Colours are CSS variables of
`palette.css`, so that one picture serves light and dark. The same data give the same bytes: a fixed salt for
identifiers, no date, coordinates rounded to a tenth of a point.
"""
