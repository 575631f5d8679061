"""The commands of `python -m pipelines`; they import what is slow to load when called."""

import importlib.util

import click

from nofrost.cli import CommandGroup
from nofrost.errors import UserError
from pipelines.cli.cluster_commands import doctor_, submit_
from pipelines.cli.local_commands import compile_, graph_, run_
from pipelines.cli.schedule_commands import schedule_, status_, unschedule_


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def pipelines() -> None:
    """Compile the pipeline, run it here or on Kubeflow, once or on a schedule, and look for what that needs."""
    spec = importlib.util.find_spec("kfp")
    # A folder of that name has a specification without a file.
    if spec is None or spec.origin is None:
        raise UserError("kfp is not installed here: install it with `pip install --editable '.[pipeline,docker]'`")


for _command in (compile_, graph_, run_, submit_, schedule_, status_, unschedule_, doctor_):
    pipelines.add_command(_command)
