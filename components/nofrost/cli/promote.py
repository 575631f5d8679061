"""`nofrost promote`: list the runs that can be promoted to dvc.lock, show what would change, and promote one."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import aligned, emit, json_option, open_store, store_option
from nofrost.errors import UserError, printable, remark

if TYPE_CHECKING:
    from nofrost.promotion import Candidate, Change, Promotion


class _PromoteGroup(click.Group):
    """A group that takes any word that is not a command as the run to promote: `nofrost promote RUN`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["RUN", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PromoteGroup, subcommand_metavar="list | show RUN | RUN [OPTIONS]...")
def promote() -> None:
    """Merge the outputs of a pipeline run into dvc.lock.

    In the current folder: nofrost promote RUN [OPTIONS].

    Options of a promotion: nofrost promote RUN --help. A run whose id is "list" or "show": nofrost promote RUN list.
    """


@promote.command("list")
@store_option
@json_option
def promote_list(store_url: str | None, as_json: bool) -> None:
    """Print every run that can be promoted, the newest first: when it finished, its study and number of outputs."""
    from nofrost.promotion import list_candidates, read_candidate

    store = open_store(store_url)
    candidates, errors = [], []
    for run in list_candidates(store):
        # A damaged candidate must not hide the others.
        try:
            candidates.append(read_candidate(run, store))
        except UserError as error:
            errors.append(str(error))
    candidates.sort(key=lambda candidate: candidate.finished, reverse=True)
    summaries = [_summary(candidate) for candidate in candidates]
    rows = [(each["run"], each["finished"], f"{each['study']}, {each['outputs']} outputs") for each in summaries]
    emit(summaries, aligned(rows), as_json)
    for message in errors:
        remark(message)
    if not candidates and not errors:
        remark(f"no run has left a candidate in {store.url}")


@promote.command("show")
@click.argument("run")
@store_option
@json_option
def promote_show(run: str, store_url: str | None, as_json: bool) -> None:
    """Print how dvc.lock in the current folder changes when RUN is promoted. Nothing is written.

    For each stage that is in dvc.lock: outputs, dependencies, parameters and command, before and after. For a new
    stage: its outputs (--json has everything). Then the reasons why RUN cannot be promoted here, if there are any.
    """
    from nofrost.promotion import plan_promotion

    promotion = plan_promotion(run, open_store(store_url), Path())
    changes = [dataclasses.asdict(change) for change in promotion.changes]
    objections = _objections(promotion)
    summary = {**_summary(promotion.candidate), "changes": changes, "against": objections}
    emit(summary, _format_difference(promotion), as_json)
    for message in [] if as_json else objections:
        remark(message)


@promote.command("RUN")
@click.argument("run")
@store_option
@click.option("--yes", is_flag=True, help="Do not ask. Without a terminal this is needed.")
@click.option("--params", is_flag=True, help="Also write the study of RUN to params.yaml.")
@click.option("--force", is_flag=True, help="Promote although the code or source data here are not those of RUN.")
def promote_run(run: str, store_url: str | None, yes: bool, params: bool, force: bool) -> None:
    """Merge RUN into dvc.lock in the current folder, stage by stage, after showing the difference.

    Afterwards `dvc pull` downloads the outputs of RUN, and `dvc status` reports its stages as unchanged. Stages that
    RUN did not run stay as they are.

    Example: nofrost promote nofrost-digits-x7k2p && git diff dvc.lock && dvc pull
    """
    from nofrost.promotion import plan_promotion

    promotion = plan_promotion(run, open_store(store_url), Path())
    click.echo(_format_difference(promotion))
    if not promotion.changes and not (params and promotion.differing_params):
        return
    promotion.check(params=params, force=force)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserError("there is no terminal to ask on before writing dvc.lock: give --yes")
        click.confirm("Write this to dvc.lock?", abort=True)
    promotion.write(params=params, force=force)
    stages = len({change.stage for change in promotion.changes})
    files = "params.yaml and dvc.lock" if params else "dvc.lock"
    click.echo(f"{files} written, stages taken from run {run}: {stages}. Next: git diff dvc.lock, then dvc pull")


def _summary(candidate: Candidate) -> dict[str, Any]:
    return {
        "run": candidate.run,
        "finished": f"{candidate.finished:%Y-%m-%dT%H:%M:%SZ}",
        "study": candidate.study.get("name"),
        "nofrost": candidate.nofrost,
        "image": candidate.image,
        "outputs": len(candidate.outs),
    }


def _objections(promotion: Promotion) -> list[str]:
    """Return the errors of a promotion without --params and without --force."""
    messages = []
    for allowed in ({"params": False, "force": True}, {"params": True, "force": False}):
        try:
            promotion.check(**allowed)
        except UserError as error:
            messages.append(str(error))
    return messages


def _format_difference(promotion: Promotion) -> str:
    summary = _summary(promotion.candidate)
    lines = ["run {run} of study {study}, finished {finished}, nofrost {nofrost}, image {image}".format(**summary)]
    for stage, group in groupby(promotion.changes, key=lambda change: change.stage):
        changes = list(group)
        # For a new stage, list the outputs only: everything else in its entry is new, too.
        is_new = any(change.kind == "cmd" and change.before is None for change in changes)
        lines.append(f"{stage} (new)" if is_new else stage)
        lines += _format_changes([change for change in changes if change.kind == "out" or not is_new])
    if not promotion.changes:
        lines.append("nothing to promote: dvc.lock already has the outputs of the run")
    return "\n".join(map(printable, lines))


def _format_changes(changes: Sequence[Change]) -> list[str]:
    rows = [
        (f"{change.kind:5}", change.name, f"{_format(change, change.before)} -> {_format(change, change.after)}")
        for change in changes
    ]
    return [f"  {line}" for line in aligned(rows).splitlines()]


def _format(change: Change, value: str | None) -> str:
    """Return a value in short form; for a ref, its first digits, size and number of files."""
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
