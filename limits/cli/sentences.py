"""Every failure is one sentence on stderr and an exit code, never a traceback."""

import sys
import warnings
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

WRONG, INTERRUPTED = 2, 130
FAULTS = (ValueError, TypeError, ArithmeticError, MemoryError, ImportError, OSError)
"""What the rungs raise for a question they cannot answer; anything else is a mistake in `limits` and keeps its traceback."""


def note(sentence: object) -> None:
    """One line on stderr; stdout holds only the answer."""
    print("limits:", " ".join(str(sentence).split()), file=sys.stderr)


def fail(sentence: object, code: int = WRONG) -> NoReturn:
    """Say why there is no answer, and exit."""
    note(sentence)
    sys.exit(code)


def sentence(fault: BaseException) -> str:
    """What happened and to what, in words."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror + (f": {str(fault.filename)!r}" if fault.filename is not None else "")
    if isinstance(fault, MemoryError):
        return f"{str(fault) or 'out of memory'}; `limits estimate` says beforehand what a run takes"
    return str(fault) or type(fault).__name__


def _usage(fault: Any) -> str:
    message = fault.format_message().rstrip(".") + _what_came(fault.__cause__)
    path = fault.ctx.command_path if getattr(fault, "ctx", None) else "limits"
    return f"{message[:1].lower()}{message[1:]}; `{path} --help` lists what there is"


def _what_came(cause: Any) -> str:
    """What was typed where an option wants a number; some versions of typer leave it in the cause."""
    return "".join(f", got {e['input']!r}" for e in (cause.errors() if hasattr(cause, "errors") else ())[:1])


def _show(message: Warning | str, *_: object) -> None:
    note(f"warning: {message}")


class Sentences(TyperGroup):
    """The `limits` command: a group of commands that fail in sentences."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would exit without a word
            fail("interrupted before anything was finished; nothing was kept", INTERRUPTED)

    def main(self, *args: Any, **options: Any) -> NoReturn:
        with warnings.catch_warnings():
            for boring in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
                warnings.simplefilter("ignore", boring)
            for telling in (UserWarning, RuntimeWarning, FutureWarning):
                warnings.simplefilter("default", telling)
            warnings.showwarning = _show
            sys.exit(self._run(*args, **options) or 0)

    def _run(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options | {"prog_name": "limits", "standalone_mode": False})
        except typer.Abort:
            fail("interrupted", INTERRUPTED)
        except FAULTS as fault:
            fail(sentence(fault))
        except Exception as fault:
            if not hasattr(fault, "format_message"):
                raise
            fail(_usage(fault))
