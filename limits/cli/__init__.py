"""The command line: parse, call one function, print.

`question` turns options into a `Problem`, `commands` asks one rung about it and `experiments` many at once, `calculus` asks about
exponents alone, `report` prints and saves the answer, and `sentences` says in one line what went wrong.
"""

from limits.cli import calculus as calculus
from limits.cli import experiments as experiments
from limits.cli import explorer_command as explorer_command
from limits.cli import exponents_command as exponents_command
from limits.cli import finite_size_command as finite_size_command
from limits.cli import scale_command as scale_command
from limits.cli.commands import app


def main() -> None:
    """Run `limits` on the arguments of the process, and exit."""
    app()
