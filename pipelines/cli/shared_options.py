"""Options that the commands of the pipeline share, and the study that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nofrost.cli.options import PATH, data_option, not_empty

if TYPE_CHECKING:
    from nofrost.config import Study

# More than 64 of a single run would outgrow what Argo can store of a workflow.
SHARDS = click.option(
    "--shards", type=click.IntRange(1, 64), default=1, show_default=True, help="Shards of every evaluation."
)
AUGMENT_SHARDS = click.option(
    "--augment-shards", type=click.IntRange(1, 64), default=1, show_default=True, help="Shards of the augmentation."
)
GPUS = click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="GPUs on each node of a training. With any, an evaluation has one.",
)
NODES = click.option(
    "--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="Machines of each training."
)
DATA = data_option
DATA_REF = click.option(
    "--data-ref",
    metavar="latest:NAME|REF",
    help="Source data by content, or the newest that `nofrost data release NAME` gave. Default: the data at the "
    "study's dataset.path, which are pushed.",
)
CLUSTER = click.option("--cluster", type=PATH, help="YAML file with resources, placement and credentials.")
HOST = click.option(
    "--host", metavar="URL", help="The KFP API. Default: KF_PIPELINES_ENDPOINT, else the current cluster."
)
NAMESPACE = click.option("--namespace", help="Namespace of the user, where one installation serves several.")
TOKEN_FILE = click.option("--token-file", type=PATH, help="File with a bearer token, read again for every request.")
CA_CERT = click.option("--ca-cert", type=PATH, help="PEM file of the authority that signed the host's certificate.")
SERVICE_ACCOUNT = click.option(
    "--service-account", help="Service account of the pods, such as one that may use the bucket (IRSA)."
)
STAGE_IMAGE = click.option(
    "--stage-image", required=True, metavar="IMAGE@sha256:...", help="Image of the stages, by its digest."
)
TRAIN_IMAGE = click.option(
    "--train-image", required=True, metavar="IMAGE@sha256:...", help="Image of the training, by its digest."
)
EXPERIMENT = click.option(
    "--experiment",
    default="nofrost",
    show_default=True,
    callback=not_empty,
    help="Experiment of the run; created if it does not exist.",
)
PIPELINE_ROOT = click.option(
    "--pipeline-root", metavar="URL", help="Where Kubeflow keeps artifacts. Default: as it is set up."
)
CACHE = click.option("--cache/--no-cache", default=True, help="Reuse outputs of tasks that ran before.")


def load_checked_study(name: str | None, overrides: tuple[str, ...]) -> Study:
    """Return a study (by default the active one) after checking its recipes, suites and dataset."""
    from nofrost.config import load_study
    from nofrost.tasks import check_study

    origin = name or "params.yaml"
    return check_study(load_study(origin, overrides), origin, overrides)
