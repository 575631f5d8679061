"""`nofrost COMMAND ...`: one command for each stage, and a few that look after studies, models and stored data.

Thin: a command reads the configuration and calls the part that does the work. Everything heavy is imported inside the
commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys

import click

from nofrost.cli.attacks import attacks
from nofrost.cli.card import card
from nofrost.cli.models import models
from nofrost.cli.promote import promote
from nofrost.cli.recipes import recipes
from nofrost.cli.stages import augment, evaluate, prepare, report
from nofrost.cli.store import store
from nofrost.cli.study import papers, study
from nofrost.cli.task import task
from nofrost.cli.train import train
from nofrost.cli.transfer import transfer
from nofrost.errors import ReportedError


def main(command: click.Command | None = None) -> None:
    """Run a command line, that of `nofrost` unless another is given.

    Exit codes: 0 done, 1 a run of the pipeline failed, 2 wrong usage or input, 143 stopped after saving (start again).
    """
    try:
        (command or cli)(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("nofrost: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ReportedError as error:
        error.exit()
    except BrokenPipeError:
        # Standard output was closed, as by `| head`: end quietly. Python's own complaint at exit goes to stderr.
        sys.stderr.close()
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nofrost", prog_name="nofrost")
def cli() -> None:
    """Train image classifiers that withstand adversarial and natural shifts, attack them, report what survived.

    The stages in their order: prepare, augment, train, evaluate, report. `dvc repro` runs them all for the study in
    params.yaml; each can also be run alone. Wrong usage or input ends with one sentence and exit code 2.
    """


for _command in (
    *(prepare, augment, train, evaluate, transfer, report),
    *(card, study, recipes, papers, models, attacks, store, promote, task),
):
    cli.add_command(_command)
