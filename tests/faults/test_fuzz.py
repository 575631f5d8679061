"""Whatever a file holds, a command ends with 0, or with 2 and one sentence, and writes nothing but its output.

`NOFROST_FUZZ_SEED` and `NOFROST_FUZZ_INPUTS` choose other inputs and their number. The folder of each input that
fails is kept, and printed with its command.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.config import load_study, study_as_yaml
from nofrost.config.yaml_text import as_yaml
from nofrost.promotion import write_candidate
from nofrost.store import Output, open_store, push
from tests.faults import fuzz_files as files
from tests.faults import fuzz_settings as settings
from tests.faults.fuzz_files import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEED = int(os.environ.get("NOFROST_FUZZ_SEED", "0"))
INPUTS = int(os.environ.get("NOFROST_FUZZ_INPUTS", "2000"))
KEPT = Path(tempfile.gettempdir()) / "nofrost-fuzz"
MEMORY = 2 << 30
SECONDS = 10
# What is still right may be more work than this, for the kinds in WORK: it is asked to stop, and has the rest of the
# seconds for that.
STOPPED_AFTER = 6


def nofrost(*arguments: object) -> None:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What commands read, before it is changed: a folder of each kind, all tiny."""
    folder = tmp_path_factory.mktemp("world")
    overrides = [f"recipes.st.{text}" for text in settings.TINY_RECIPE]
    for suite, texts in settings.TINY_SUITES.items():
        overrides += [f"suites.{suite.partition('-')[0]}.quick.{text}" for text in texts]
    overrides += ["runs.recipe=[st]", "augmentation.methods=[tda]", "dataset.limit=60", "dataset.image_size=8"]
    study = load_study("digits", overrides)
    (folder / "params.yaml").write_text(study_as_yaml(study), encoding="utf-8")
    dataset, train = folder / "dataset", folder / settings.TRAIN
    of_study = ["--study", folder / "params.yaml"]
    nofrost("prepare", *of_study, "--out", dataset)
    nofrost("augment", *of_study, "--dataset", dataset, "--out", folder / "augmentation")
    nofrost("train", *of_study, "--recipe", "st", "--dataset", dataset, "--out", train)
    for name, suite in (("adversarial", study.suites.adversarial["quick"]), ("ood", study.suites.ood["quick"])):
        out = train.with_name(f"evaluate-{name}") / "quick"
        nofrost("evaluate", *of_study, "--suite", name, "--dataset", dataset, "--checkpoint", train, "--out", out)
        (folder / f"{name}.yaml").write_text(as_yaml(suite.as_json()), encoding="utf-8")
    store = open_store(str(folder / "store"))
    output = Output("data/dataset", push(dataset, store))
    write_candidate([output], study=study, run="a-run", image="image@1", source=None, store=store)
    return folder


# Each kind of input with its share of all.
KINDS: dict[Callable[[World, Path, random.Random], list[Any]], int] = {
    settings.recipe: 12, settings.training: 8, settings.suite: 8, settings.study: 12, settings.stage_of_study: 10,
    files.npz: 9, files.idx_files: 7, files.cifar10: 4, files.photos: 7, files.checkpoint: 8, files.manifest: 7,
    files.listing: 4, files.dvc_configuration: 4, files.results: 7, files.candidate: 3,
}  # fmt: skip
# Kinds whose settings say how much work there is. A command of another kind that does not end is a fault.
WORK = (settings.training, settings.suite, settings.stage_of_study)


def contents(folder: Path) -> dict[str, str]:
    """Return the checksum of each file that is not of the output of a command, nor of what it left unfinished."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = ((path, path.relative_to(folder).parts[0]) for path in files)
    own = ("out", "params.yaml", "tmp", "home")
    kept = [path for path, first in names if first not in own and not first.startswith((".out.", ".params"))]
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in kept}


def complaints(folder: Path, end: Any, before: dict[str, str], stopped: bool) -> Iterator[str]:
    """Yield what is wrong with the end of a run in `folder`, which was asked to stop if it was `stopped`."""
    code, printed = end.code, end.errors
    sentences = [line for line in printed.splitlines() if line.startswith("nofrost: ")]
    if code is None:
        yield f"it took more than {SECONDS} s"
    elif code not in (0, 2) and not (code == 143 and stopped):
        yield f"exit code {code}"
    if "Traceback" in printed:
        yield "a traceback"
    elif code == 2 and (len(sentences) != 1 or not printed.splitlines()[-1].startswith("nofrost: ")):
        yield f"{len(sentences)} sentences"
    elif code == 2 and len(sentences[0]) > 1500:
        yield f"a sentence of {len(sentences[0])} characters"
    if contents(folder) != before:
        yield "other files than the output were written"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_changed_input_gives_a_result_or_one_sentence(
    kind: Callable[[World, Path, random.Random], list[Any]], world: World, side_by_side: Any, tmp_path: Path
) -> None:
    runs, before = [], {}
    after_s = [(STOPPED_AFTER, signal.SIGTERM)] if kind in WORK else []
    for number in range(max(1, INPUTS * KINDS[kind] // sum(KINDS.values()))):
        folder = tmp_path / f"{number:04}"
        folder.mkdir()
        arguments = kind(world, folder, random.Random(f"{SEED} {kind.__name__} {number}"))
        job = {"folder": str(folder), "arguments": list(map(str, arguments))}
        runs.append({**job, "memory": MEMORY, "after_s": after_s, "limit_s": SECONDS})
        before[str(folder)] = contents(folder)
    untouched = contents(world)
    ends = [
        end for pair in (runs[first : first + 2] for first in range(0, len(runs), 2)) for end in side_by_side(*pair)
    ]
    failures = []
    for run, end in zip(runs, ends, strict=True):
        folder = Path(run["folder"])
        stopped = bool(after_s) and end.seconds > STOPPED_AFTER
        if faults := list(complaints(folder, end, before[run["folder"]], stopped)):
            kept = KEPT / f"{kind.__name__}-{SEED}-{folder.name}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
            command = f"cd {kept} && nofrost {' '.join(run['arguments'])}".replace(str(folder), str(kept))
            failures.append(f"{', '.join(faults)}: {command}\n{end.errors[-1500:]}")
    assert not failures, f"{len(failures)} of {len(runs)}\n" + "\n".join(failures)
    assert contents(world) == untouched
