r"""The explorer: one HTML page on which the $(\alpha, \gamma)$ plane is alive.

`plane` says what is known of every point, as exact forms and inequalities; `lattice` which networks are trained, `networks` and
`infinite` train them, `runs` gathers what came of it, and `data` all of it in terms of JSON. `picture` draws the regimes, and
`page` puts data, picture, style and script into one file. The script looks up what the data say and compares exact fractions; of
the theory it knows nothing.
"""

from limits.explorer.data import data
from limits.explorer.lattice import Lattice
from limits.explorer.page import write

__all__ = ["Lattice", "data", "write"]
