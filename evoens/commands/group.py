"""All commands together: what each of them needs before it starts, and what becomes of an error that one raises."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from evoens.commands import printing, session
from evoens.errors import ConfigError, EvoensError, one_line, visible
from evoens.machine.threads import round_alike, sleep_at_barriers

_UsageError: Any = typer.BadParameter.__base__
"""What typer raises where a command line is wrong, under a name that it keeps to itself."""


class Group(TyperGroup):
    """All commands; what a user can mend becomes one message on stderr and exit code 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Read the arguments and run the command."""
        printing.any_encoding()
        return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        sleep_at_barriers()
        round_alike()
        try:
            return super().invoke(ctx)
        except ConfigError as error:  # one line for each fault, each with its own place
            session.end(str(error), session.WRONG)
        except EvoensError as error:
            session.end(f"error: {error}", session.WRONG)
        except _UsageError as error:  # of arguments, which may be names of files
            error.message = visible(error.message)
            raise
        except BrokenPipeError:
            raise  # a reader that has gone: typer ends without a word
        except OSError as error:
            session.end(f"error: {error.filename or 'the system'}: {error.strerror}", session.WRONG)
        except SystemExit as error:  # no command raises it: what a user's code says must not be the run's success
            session.end(
                f"error: code of the Strategy, of the network or of a library of theirs: {one_line(error)}",
                session.WRONG,
            )
        except KeyboardInterrupt:
            session.end("interrupted", session.INTERRUPTED)
