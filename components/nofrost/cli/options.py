"""What the commands share: options, and how a result is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nofrost.errors import ReportedError

if TYPE_CHECKING:
    from nofrost.store import Store

F = TypeVar("F", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path)


def json_option(command: F) -> F:
    """Add the option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print as JSON.")(command)


def store_option(command: F) -> F:
    """Add the option --store; :func:`open_store` opens what it names."""
    return click.option(
        "--store",
        "store_url",
        metavar="URL",
        help="The store: s3://BUCKET/PREFIX or a folder. Default: NOFROST_STORE, else DVC's default remote.",
    )(command)


def open_store(url: str | None) -> Store:
    """Return the store at `url`, or the default one."""
    from nofrost import store

    return store.open_store(url or store.default_store())


def emit(value: Any, text: str, as_json: bool) -> None:
    """Print `value` as JSON, or the text that says the same to people; an empty text prints nothing."""
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif text:
        click.echo(text)


def common(*, study: bool = True) -> Callable[[F], F]:
    """Add the options that commands share: --study, --set and --json."""

    def decorate(command: F) -> F:
        command = click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON on standard output.")(
            command
        )
        command = click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Replace a value of the configuration, such as schedule.epochs=3. May be given often.",
        )(command)
        if study:
            command = click.option(
                "--study",
                "study_name",
                metavar="NAME|PATH",
                help="A study that is shipped (see `nofrost study list`) or a YAML file such as params.yaml.",
            )(command)
        return command

    return decorate


def print_result(metrics: dict[str, Any], out: Path, summary: str, as_json: bool) -> None:
    """Print the metrics of a command as JSON, or one line about them."""
    emit(metrics, f"{out}: {summary}", as_json)


@contextmanager
def only_rank_zero_reports() -> Iterator[bool]:
    """Yield whether this is rank 0 among the processes that torchrun started, which alone prints results and errors."""
    # The module `processes` has the same answer, but loads torch, and usage errors must come at once.
    is_rank_zero = os.environ.get("RANK", "0") == "0"
    try:
        yield is_rank_zero
    except ReportedError as error:
        if is_rank_zero:
            raise
        sys.exit(error.exit_code)
