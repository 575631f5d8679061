"""`nofrost promote`: the runs that can be promoted to dvc.lock, how one differs from it, and promoting it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nofrost.errors import UserError

if TYPE_CHECKING:
    from nofrost.promotion import Candidate, Change, Promotion
    from nofrost.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def _from_a_store(command: F) -> F:
    return click.option(
        "--store",
        "url",
        metavar="URL",
        help="Where runs push: s3://BUCKET/PREFIX or a folder. Default: NOFROST_STORE, else DVC's default remote.",
    )(command)


class _PromoteGroup(click.Group):
    """A group in which anything but the name of a command is a run to promote: `nofrost promote RUN`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["RUN", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PromoteGroup, subcommand_metavar="list | show RUN | RUN [OPTIONS]...")
def promote() -> None:
    """Merge the outputs of a pipeline run into dvc.lock of the current folder: nofrost promote RUN [OPTIONS].

    Options of a promotion: nofrost promote RUN --help. A run whose id is "list" or "show": nofrost promote RUN list.
    """


@promote.command("list")
@_from_a_store
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def promote_list(url: str | None, as_json: bool) -> None:
    """Print every run that can be promoted, the newest first: when it finished, its study and number of outputs."""
    from nofrost.promotion import list_candidates, read_candidate

    store = _open(url)
    found, damaged = [], []
    for run in list_candidates(store):
        try:
            found.append(read_candidate(run, store))
        except UserError as error:
            damaged.append(str(error))
    found.sort(key=lambda candidate: candidate.finished, reverse=True)
    if as_json:
        click.echo(json.dumps([_summary(candidate) for candidate in found], indent=2))
    else:
        width = max((len(candidate.run) for candidate in found), default=0)
        for about in map(_summary, found):
            click.echo(f"{about['run']:{width}}  {about['finished']}  {about['study']}, {about['outputs']} outputs")
    for sentence in damaged:
        click.echo(f"nofrost: {sentence}", err=True)
    if not found and not damaged:
        click.echo(f"nofrost: no run has left anything in {store.url}", err=True)


@promote.command("show")
@click.argument("run")
@_from_a_store
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def promote_show(run: str, url: str | None, as_json: bool) -> None:
    """Print how dvc.lock in the current folder changes when RUN is promoted. Nothing is written.

    For each stage that dvc.lock knows: outputs, dependencies, parameters and command, before and after; for a new one
    its outputs (--json has everything). Then what speaks against promoting it here.
    """
    from nofrost.promotion import plan_promotion

    promotion = plan_promotion(run, _open(url), Path())
    if as_json:
        listed = [dataclasses.asdict(change) for change in promotion.changes]
        click.echo(
            json.dumps({**_summary(promotion.candidate), "changes": listed, "against": _against(promotion)}, indent=2)
        )
        return
    _print_difference(promotion)
    for sentence in _against(promotion):
        click.echo(f"nofrost: {sentence}", err=True)


@promote.command("RUN")
@click.argument("run")
@_from_a_store
@click.option("--yes", is_flag=True, help="Do not ask. Without a terminal this is needed.")
@click.option("--params", is_flag=True, help="Also write the study of RUN to params.yaml.")
@click.option("--force", is_flag=True, help="Promote although the code or source data here are not those of RUN.")
def promote_run(run: str, url: str | None, yes: bool, params: bool, force: bool) -> None:
    """Merge RUN into dvc.lock in the current folder, stage by stage, after showing the difference.

    Afterwards `dvc pull` brings the outputs of RUN and `dvc status` has nothing to say about its stages. Stages that
    RUN did not make stay as they are.

    Example: nofrost promote nofrost-digits-x7k2p && git diff dvc.lock && dvc pull
    """
    from nofrost.promotion import plan_promotion

    promotion = plan_promotion(run, _open(url), Path())
    _print_difference(promotion)
    if not promotion.changes and not (params and promotion.differing_params):
        return
    promotion.check(params=params, force=force)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("dvc.lock is not written unasked, and there is no terminal to ask on: give --yes")
        click.confirm("Write this to dvc.lock?", abort=True)
    promotion.write(params=params, force=force)
    stages = len({change.stage for change in promotion.changes})
    written = "params.yaml and dvc.lock" if params else "dvc.lock"
    click.echo(f"{written} written, stages taken from run {run}: {stages}. Next: git diff dvc.lock, then dvc pull")


def _open(url: str | None) -> Store:
    from nofrost.store import default_store, open_store

    return open_store(url or default_store())


def _summary(candidate: Candidate) -> dict[str, Any]:
    return {
        "run": candidate.run,
        "finished": f"{candidate.finished:%Y-%m-%dT%H:%M:%SZ}",
        "study": candidate.study.get("name"),
        "nofrost": candidate.nofrost,
        "image": candidate.image,
        "outputs": len(candidate.outs),
    }


def _against(promotion: Promotion) -> list[str]:
    """Return what `promote` would say without --params and without --force."""
    said = []
    for allowed in ({"params": False, "force": True}, {"params": True, "force": False}):
        try:
            promotion.check(**allowed)
        except UserError as error:
            said.append(str(error))
    return said


def _print_difference(promotion: Promotion) -> None:
    about = _summary(promotion.candidate)
    click.echo("run {run} of study {study}, finished {finished}, nofrost {nofrost}, image {image}".format(**about))
    for stage, group in groupby(promotion.changes, key=lambda change: change.stage):
        changes = list(group)
        is_new = any(change.kind == "cmd" and change.before is None for change in changes)
        click.echo(f"{stage} (new)" if is_new else stage)
        _print_table([change for change in changes if change.kind == "out" or not is_new])
    if not promotion.changes:
        click.echo("nothing to promote: dvc.lock already holds what the run made")


def _print_table(changes: Sequence[Change]) -> None:
    rows = [
        (change.kind, change.name, f"{_told(change, change.before)} -> {_told(change, change.after)}")
        for change in changes
    ]
    width = max(len(name) for _, name, _ in rows)
    for kind, name, values in rows:
        click.echo(f"  {kind:5}  {name:{width}}  {values}")


def _told(change: Change, value: str | None) -> str:
    """Return a value in few words: of a ref the first digits, the size and the number of files."""
    from nofrost.store import Ref

    if value is None:
        return "nothing"
    if change.kind not in ("out", "dep") or value.startswith("{"):
        return value
    ref = Ref.parse(value)
    parts = [ref.md5[:8]]
    parts += [] if ref.size is None else [f"{ref.size:,} bytes"]
    parts += [] if ref.nfiles is None else ["1 file" if ref.nfiles == 1 else f"{ref.nfiles} files"]
    return ", ".join(parts)
