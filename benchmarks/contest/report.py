"""The tables of agreement and of speed, as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest

from contest.models import TRAININGS
from contest.settings import CONTESTS
from nofrost.files import read_json, write_json, write_text

TOLERANCE = 0.5  # points by which ours may be weaker
Row = dict[str, Any]

_DETERMINISTIC = ("fgsm", "bim", "mim")
_CHANCE = 0.05  # smallest probability at which two random attacks count as equally strong
_BEST = "ours returns the best point of its path, theirs the last"
_SATURATION = "their cross-entropy rounds to zero on confident images, ours is its log-odds"
_BOX = "ours cuts by the pixel box before it projects into the ball, so that no length is lost"
_REASONS: dict[tuple[str, str, str], str] = {
    ("mim", "linf", "foolbox"): "foolbox sums signs, not gradients divided by their L1 norm",
    ("mim", "l2", "foolbox"): "foolbox sums gradients divided by their L2 norm, not by their L1 norm",
    ("square", "linf", "torchattacks"): "windows of ours are drawn per image and reach the last row and column",
    ("square", "l2", "torchattacks"): "windows of ours are drawn per image and reach the last row and column",
}


def write_agreement(folder: Path, models: Mapping[str, Row], peers: Mapping[str, str], rows: list[Row]) -> None:
    """Add models and rows to attack_agreement.json in `folder`, in place of former ones, and write the table anew."""
    file = folder / "attack_agreement.json"
    before = read_json(file) if file.exists() else {"models": {}, "rows": []}
    merged = {_key(row): row for row in [*before["rows"], *rows]}
    ordered = sorted(merged.values(), key=lambda row: (*_place(row), row["peer"]))
    report = _about(peers) | {"models": before["models"] | dict(models), "rows": ordered}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, report)
    write_text(folder / "attack_agreement.md", _markdown(report))


def write_speed(folder: Path, peers: Mapping[str, str], row: Row) -> None:
    """Add a row to attack_speed.json in `folder`, in place of a former one, and write the table anew."""
    file = folder / "attack_speed.json"
    before = read_json(file).get("rows", []) if file.exists() else []
    place = ("model", "attack", "norm")
    merged = {tuple(each[part] for part in place): each for each in [*before, row]}
    report = _about(peers) | {"rows": sorted(merged.values(), key=_place)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, report)
    write_text(folder / "attack_speed.md", _speed_markdown(report))


def weaker_by(row: Row) -> float:
    """Return by how many points of robust accuracy ours is weaker; below zero where it is stronger."""
    return float(round(100 * (row["ours"] - row["theirs"]), 6))


def _key(row: Row) -> tuple[str, ...]:
    return row["model"], row["attack"], row["norm"], row["peer"]


def _place(row: Row) -> tuple[int | str, ...]:
    return list(TRAININGS).index(row["model"]), row["norm"] != "linf", list(CONTESTS).index(row["attack"])


def _about(peers: Mapping[str, str]) -> Row:
    return {
        "peers": dict(peers),
        "torch": torch.__version__,
        "device": f"CPU, threads: {torch.get_num_threads()}",
    }


def _markdown(report: Row) -> str:
    rows = report["rows"]
    failed = [row for row in rows if weaker_by(row) > TOLERANCE]
    lines = [
        "# Agreement of our attacks with those of other packages",
        "",
        f"Written by `benchmarks/attack_agreement.py`; {_versions(report)}.",
        "Robust accuracy in per cent, at equal settings on the same test images. In brackets the difference in points,",
        "positive where ours is weaker, then the images that only ours and only theirs broke.",
        "",
        f"{len(rows)} comparisons; ours is weaker by more than {TOLERANCE} points in {len(failed)}.",
    ]
    for name, model in report["models"].items():
        lines += [
            "",
            f"## {name}",
            "",
            f"{model['title']}; {model['clean_accuracy']:.1%} right on {model['images']} images.",
        ]
        for norm in ("linf", "l2"):
            lines += _section(
                [row for row in rows if row["model"] == name and row["norm"] == norm], list(report["peers"])
            )
    return "\n".join(lines) + "\n"


def _versions(report: Row) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in report["peers"].items())
    return f"{peers}; torch {report['torch']}, {report['device']}"


def _section(rows: list[Row], peers: list[str]) -> list[str]:
    if not rows:
        return []
    head = ["attack", "images", "ours", *peers, "holds", "why ours is stronger"]
    lines = ["", f"{rows[0]['norm']}, budget {rows[0]['eps']:.4g}", ""]
    lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for attack in dict.fromkeys(row["attack"] for row in rows):
        found = {row["peer"]: row for row in rows if row["attack"] == attack}
        first = next(iter(found.values()))
        cells = [attack, str(first["images"]), f"{first['ours']:.1%}"]
        cells += [_cell(found[peer]) if peer in found else "" for peer in peers]
        cells += ["no" if any(weaker_by(row) > TOLERANCE for row in found.values()) else "yes"]
        cells += ["; ".join(dict.fromkeys(_reason(row) for row in found.values() if weaker_by(row) < -TOLERANCE))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(row: Row) -> str:
    broken = f"{row['broken_by_ours_only']}/{row['broken_by_theirs_only']}"
    return f"{row['theirs']:.1%} ({weaker_by(row):+.1f}; {broken})"


def _reason(row: Row) -> str:
    attack = row["attack"].partition(",")[0]
    only = row["broken_by_ours_only"], row["broken_by_theirs_only"]
    if attack not in _DETERMINISTIC and (chance := binomtest(only[0], sum(only)).pvalue) >= _CHANCE:
        return f"other random numbers than {row['peer']}'s (p = {chance:.2f})"
    if reason := _REASONS.get((attack, row["norm"], row["peer"])):
        return reason
    if attack.startswith("apgd") or attack == "autoattack":
        return _BOX if row["norm"] == "l2" and row["peer"] == "torchattacks" else "not explained"
    if "step_size" in row["settings"] and "keep" not in row["settings"]:
        return f"{_BEST} (compare `last point`)"
    return _SATURATION if attack in ("fgsm", "bim", "mim") else "not explained"


def _speed_markdown(report: Row) -> str:
    peers = list(report["peers"])
    lines = [
        "# Speed of our attacks beside those of other packages",
        "",
        f"Written by `benchmarks/attack_speed.py`; {_versions(report)}.",
        "Seconds of ours, ours / floor and ours / theirs (under 1: ours is faster): medians over turns in one run.",
        "The floor is what the model alone takes for the passes on images without an adversarial point so far.",
        "In brackets the share of the images that withstood.",
        "",
    ]
    head = [
        "model",
        "norm",
        "attack",
        "images",
        "turns",
        "clock",
        "ours, s",
        "ours / floor",
        *(f"ours / {peer}" for peer in peers),
    ]
    lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in report["rows"]:
        cells = [row["model"], row["norm"], row["attack"], str(row["images"]), str(row["turns"]), row["clock"]]
        cells += [f"{row['seconds']['ours']:.2f} ({row['accuracies']['ours']:.1%})", f"{row['floor_ratio']:.2f}"]
        cells += [_speed_cell(row, peer) for peer in peers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _speed_cell(row: Row, peer: str) -> str:
    return f"{row['ratios'][peer]:.2f} ({row['accuracies'][peer]:.1%})" if peer in row["ratios"] else ""
