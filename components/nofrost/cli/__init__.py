"""The command line, `nofrost COMMAND ...`: one command for each stage, others for studies, models and stored data.

A command only reads the configuration and calls the package. It imports what is slow to load when it is called, so that
`--help` answers at once.
"""

import sys

import click

from nofrost.cli.evaluate import card, evaluate, transfer
from nofrost.cli.models import attacks, models
from nofrost.cli.promote import promote
from nofrost.cli.recipes import papers, recipes, study
from nofrost.cli.stages import augment, prepare, report, train
from nofrost.cli.store import store, task
from nofrost.errors import ReportedError
from nofrost.stopping import TerminatedError, raised_on_sigterm


def main(command: click.Command | None = None) -> None:
    """Run `command` (by default `nofrost`) with the arguments of the process.

    Exit codes: 0 success; those of :mod:`nofrost.errors`; 130 interrupted; those of click, such as 2 for wrong usage.
    """
    try:
        with raised_on_sigterm():
            (command or cli)(standalone_mode=False)
    except TerminatedError as error:
        error.exit()
    except click.exceptions.Abort:
        click.echo("nofrost: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ReportedError as error:
        error.exit()
    except BrokenPipeError:
        # Standard output was closed, as by `| head`: exit quietly. Python would print an error to stderr at exit.
        sys.stderr.close()
        sys.exit(1)


SECTIONS = {
    "Stages, in order": (prepare, augment, train, evaluate, report),
    "Studies, recipes and methods": (study, recipes, papers, models, attacks),
    "Models and measurements": (transfer, card),
    "Storage and pipeline": (store, promote, task),
}


class _Sections(click.Group):
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
