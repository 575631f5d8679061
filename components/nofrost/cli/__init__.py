"""The command line, `nofrost COMMAND ...`: one command for each stage, others for studies, models and stored data.

A command only reads the configuration and calls the package. It imports what is slow to load when it is called, so that
`--help` answers at once.
"""

import io
import os
import sys
from typing import Any

import click

from nofrost.cli.champion import champion
from nofrost.cli.data import data
from nofrost.cli.evaluate import card, evaluate, transfer
from nofrost.cli.gallery import gallery
from nofrost.cli.metrics import metrics
from nofrost.cli.models import attacks, models
from nofrost.cli.promote import promote
from nofrost.cli.recipes import papers, recipes
from nofrost.cli.stages import augment, prepare, report, train
from nofrost.cli.store import store
from nofrost.cli.streams import finish_streams, output_error, prepare_streams
from nofrost.cli.studies import study
from nofrost.cli.task import task
from nofrost.cluster.job.identity import JOB_NAME, RUN_ID
from nofrost.errors import remark, show
from nofrost.first_process import run_under_init
from nofrost.stopping import end_with_parent, stopped_by_sigterm
from nofrost.system_errors import as_reported
from nofrost.telemetry import log


def main(command: click.Command | None = None) -> None:
    """Run `command` (by default `nofrost`) with the arguments of the process.

    Exit codes: 0 success; those of :mod:`nofrost.errors`; 130 interrupted; those of click, such as 2 for wrong usage.
    """
    # For other programs; `python -m nofrost` has done so before it was loaded.
    run_under_init()
    prepare_streams()
    try:
        code = finish_streams(_exit_code(command or cli))
    finally:
        log.end()
    if code:
        sys.exit(code)


def _exit_code(command: click.Command) -> int:
    """Run the command and return the exit code, after printing what went wrong."""
    try:
        with stopped_by_sigterm():
            end_with_parent()
            log.begin(os.environ.get(RUN_ID, ""), os.environ.get(JOB_NAME, ""))
            command(standalone_mode=False)
        return 0
    # click turns a KeyboardInterrupt into Abort, but not one that comes before it or while it does so.
    except (click.exceptions.Abort, KeyboardInterrupt):
        remark("interrupted")
        return 130
    except click.ClickException as error:
        return _show(error)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except _PassedError as passed:
        uncaught = passed.error
    except Exception as error:
        uncaught = error
    if isinstance(uncaught, OSError) and (code := output_error(uncaught)) is not None:
        return code
    explained = as_reported(uncaught)
    if explained is None:
        raise uncaught
    explained.show()
    return explained.exit_code


def _show(error: click.ClickException) -> int:
    """Print usage and message of wrong usage."""
    text = io.StringIO()
    error.show(text)
    for line in text.getvalue().rstrip("\n").split("\n"):
        show(line)
    return error.exit_code


SECTIONS = {
    "Stages, in order": (prepare, augment, train, evaluate, report),
    "Studies, recipes and methods": (study, recipes, papers, models, attacks),
    "Models and measurements": (transfer, card, gallery),
    "Storage and pipeline": (store, data, promote, champion, task, metrics),
}


class _PassedError(Exception):
    """Carries an error through click."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class CommandGroup(click.Group):
    """The group of all commands, to be given to :func:`main`.

    Errors reach `main` as they are. Click would end with 1 and silently when any connection breaks, and take the
    end of any file for Ctrl-C.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except (OSError, EOFError) as error:
            raise _PassedError(error) from error


class _Sections(CommandGroup):
    """A group whose help lists the commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and first sentences of the commands."""
        # Padded names, so that the columns of all sections are aligned.
        width = max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{each.name:{width}}", each.get_short_help_str(90)) for each in commands])


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nofrost", prog_name="nofrost")
def cli() -> None:
    """Train image classifiers that withstand adversarial and natural shifts, attack them, report what survived.

    `dvc repro` runs all stages for the study in params.yaml; each can also be run alone. Wrong usage or input ends with
    one sentence and exit code 2.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)
