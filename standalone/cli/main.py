"""The command line: which commands there are, and how what goes wrong is told."""

import argparse
import logging
import os
import sys
import warnings

from ...errors import FaceGenError
from . import adopt, batch, doctor, generate, models, serve
from .common import Parser, say
from .verify import command as verify


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code: 0, 2 for what the user can fix, 130 when stopped."""
    options = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, about each other
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    try:
        try:
            options.run(options)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; nothing is left for Python to write at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except FaceGenError as error:
        say(f"facegen: {error}")
        return 2
    except KeyboardInterrupt:
        say("facegen: stopped")
        return 130
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="facegen", description="Portraits of a person from one face photo.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (generate, batch, serve, models, adopt, doctor, verify):
        command.add_command(commands)
    return parser.parse_args(arguments)
