"""Options and output that the commands share."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nofrost.error_file import write_error
from nofrost.errors import PeerLostError, ReportedError, StoppedError, UserError, printable, reason, remark
from nofrost.ranks import process_rank
from nofrost.stopping import TerminatedError
from nofrost.system_errors import as_reported, exit_code_of_task

if TYPE_CHECKING:
    from nofrost.store import Store

F = TypeVar("F", bound=Callable[..., Any])


class _NonEmptyPath(click.Path):
    """A path; an empty one is refused, which Python would take for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty: give a path, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


def not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option, unless it is empty; a callback."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty: give a text, or leave the option out", ctx, param)
    return value


class FiniteFloatRange(click.FloatRange):
    """A number within limits. Infinity, and what is not a number, which no limit keeps out, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number: write one, such as 20", param, ctx)
        return number


PATH = _NonEmptyPath(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the configuration, such as schedule.epochs=3. May be given more than once.",
)
study_option = click.option(
    "--study",
    "study_name",
    metavar="NAME|PATH",
    callback=not_empty,
    help="A study that is shipped (see `nofrost study list`) or a YAML file such as params.yaml.",
)
size_option = click.option(
    "--size",
    metavar="SIZE",
    callback=not_empty,
    help="The size of the study, such as small; `nofrost study list` names those it has. "
    "Default: paper, the study as it stands.",
)
dataset_option = click.option("--dataset", type=PATH, required=True, help="Output folder of `nofrost prepare`.")
name_option = click.option(
    "--name",
    default="",
    metavar="NAME",
    help="A further dataset of the study (its key `datasets`). Default: the dataset of the study.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of everything random."
)
store_option = click.option(
    "--store",
    "store_url",
    metavar="URL",
    help="The store: s3://BUCKET/PREFIX or a folder. Default: NOFROST_STORE, else DVC's default remote.",
)
data_option = click.option(
    "--data",
    type=click.Choice(["local", "stream"]),
    default="local",
    show_default=True,
    help="Where training reads shards of photographs: local, from the folder of the dataset, which has all of them; or "
    "stream, from the store as they are needed, through a cache in NOFROST_DATA_CACHE of at most NOFROST_CACHE_SIZE "
    "bytes.",
)


def stage_options(command: F) -> F:
    """Add the options of every stage: --study, --set and --json."""
    return study_option(set_option(json_option(command)))


def given_options(ctx: click.Context, but: Collection[str]) -> list[str]:
    """Return the options of a command as another process takes them, except for the parameters `but`."""
    arguments = []
    for parameter in ctx.command.params:
        name, value = parameter.opts[0], ctx.params.get(parameter.name or "")
        if parameter.name not in but and value is not None and value is not False:
            values = value if isinstance(value, tuple) else (value,)
            arguments += [name] if value is True else [f"{name}={each}" for each in values]
    return arguments


def refuse_given(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that are given on the command line, not by a variable, where they have no effect.

    Args:
        names: of the parameters.
        why: follows the name of the option.

    Raises:
        UserError: one is given.
    """
    for name in names:
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            raise UserError(f"--{name.replace('_', '-')} {why}")


def check_configuration_apart(out: Path, *names: str | None) -> None:
    """Check that writing `out` leaves the files of the configuration as they are, where `names` are such files.

    Raises:
        UserError: it would replace one.
    """
    from nofrost.stage import check_apart, target_of

    check_apart(out, target_of(out), [Path(name) for name in names if name and Path(name).is_file()])


def open_store(url: str | None) -> Store:
    """Return the store that `store_option` names."""
    from nofrost import store

    return store.open_store(url or store.default_store())


def emit(value: Any, text: str, as_json: bool) -> None:
    """Print `value` as JSON, or `text`, which says the same to people; an empty text prints nothing.

    Args:
        value: JSON values, or objects with a method ``as_json()``, such as a configuration or a result.
        text: without a trailing newline.
        as_json: whether --json was given.
    """
    if as_json:
        click.echo(_json(value))
    elif text:
        click.echo(printable(text, keep="\n\t"))


def _json(value: Any) -> str:
    """Return `value` as JSON, in ASCII where standard output cannot take, or a terminal would obey, a character."""
    dumps = partial(json.dumps, value, indent=2, default=lambda each: each.as_json())
    as_json = dumps(ensure_ascii=False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    takes_all = as_json.encode(encoding, errors="replace").decode(encoding) == printable(as_json, keep="\n")
    return as_json if takes_all else dumps(ensure_ascii=True)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a line for each row, each column as wide as its widest cell; all rows have the same number of cells."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


@contextmanager
def as_one_of_several() -> Iterator[bool]:
    """Yield whether this process prints the result, which of the processes that torchrun started only the first does.

    Of an error that all of them have, the first on each machine speaks; of another process that was lost, everyone.
    """
    process = process_rank()
    try:
        yield process.prints_results
    except PeerLostError as error:
        write_error(str(error), error.exit_code)
        raise
    except TerminatedError:
        write_error("stopped", StoppedError.exit_code)
        if process.size == 1:
            raise
        # torchrun also stops those that are left when one has failed.
        rest = "if no one asked for that, another one has failed: the same command continues from what was saved"
        remark(f"process {process.rank} of {process.size} was stopped; {rest}")
        sys.exit(StoppedError.exit_code)
    except Exception as error:
        explained = as_reported(error)
        code = exit_code_of_task(error, explained) if explained else 1
        write_error(str(explained) if explained else reason(error), code)
        if process.prints_errors or not isinstance(error, ReportedError):
            raise
        sys.exit(error.exit_code)
