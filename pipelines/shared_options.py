"""Options that several commands of `python -m pipelines` share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nofrost.cli.options import PATH

F = TypeVar("F", bound=Callable[..., Any])

# More than 64 of a single run would outgrow what Argo can store of a workflow.
SHARDS = click.option(
    "--shards", type=click.IntRange(1, 64), default=1, show_default=True, help="Parts of every evaluation."
)
GPUS = click.option("--gpus", type=click.IntRange(0, 1), default=0, show_default=True, help="GPUs for each training.")
NODES = click.option(
    "--nodes", type=click.IntRange(1, 1), default=1, show_default=True, help="Machines for each training."
)
DATA_REF = click.option(
    "--data-ref",
    metavar="REF",
    help="Source data by content. Default: the data at the study's dataset.path, which are pushed.",
)
CLUSTER = click.option("--cluster", type=PATH, help="YAML file with resources, placement and credentials.")
SERVICE_ACCOUNT = click.option(
    "--service-account", help="Service account of the pods, such as one that may use the bucket (IRSA)."
)
CACHE = click.option("--cache/--no-cache", default=True, help="Reuse outputs of tasks that ran before.")
_HOST = click.option(
    "--host", metavar="URL", help="The KFP API. Default: KF_PIPELINES_ENDPOINT, else the current cluster."
)
_NAMESPACE = click.option("--namespace", help="Namespace of the user, where one installation serves several.")
_TOKEN_FILE = click.option("--token-file", type=PATH, help="File with a bearer token, read again for every request.")
_CA_CERT = click.option("--ca-cert", type=PATH, help="PEM file of the authority that signed the host's certificate.")


def endpoint_options(command: F) -> F:
    """Add the options that say where the KFP API is: --host, --namespace, --token-file and --ca-cert."""
    return _HOST(_NAMESPACE(_TOKEN_FILE(_CA_CERT(command))))
