"""Whatever a file holds, a command ends with 0, or with 2 and one sentence, and writes nothing but its output.

`NOFROST_FUZZ_SEED` and `NOFROST_FUZZ_INPUTS` choose other inputs and their number. The folder of each input that
fails is kept, and printed with its command.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nofrost.cli import cli
from nofrost.config import load_recipe, load_study, study_as_yaml
from nofrost.config.yaml_text import as_yaml
from nofrost.promotion import write_candidate
from nofrost.store import Output, open_store, push
from tests.faults import mutations
from tests.faults.mutations import Change

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEED = int(os.environ.get("NOFROST_FUZZ_SEED", "0"))
INPUTS = int(os.environ.get("NOFROST_FUZZ_INPUTS", "2000"))
KEPT = Path(tempfile.gettempdir()) / "nofrost-fuzz"
SUITES = {
    "adversarial": "kind: adversarial\ntitle: tiny\ncitation: own\nprotocol: quick\nthreat: {eps: 32/255}\n"
    "attacks: {fgsm: {}, pgd-2: {name: pgd, steps: 2}}\nsteps_curve: {attack: apgd-ce, steps: [1, 2]}\n",
    "ood": "kind: ood\ntitle: tiny\ncitation: own\ncorruptions: [brightness]\nseverities: [1]\n",
}
TRAIN = ("model.arch=mlp-2-16", "model.normaliser=none", "views.image_size=null", "views.random_resized_crop=null",
         "views.horizontal_flip=false", "schedule.epochs=1", "schedule.batch_size=16")  # fmt: skip
World = Path


def nofrost(*arguments: object) -> None:
    CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What commands read, before it is changed: a folder of each kind, all tiny."""
    folder = tmp_path_factory.mktemp("world")
    for name, text in SUITES.items():
        (folder / f"{name}.yaml").write_text(text.replace("steps_curve", "#") if name == "adversarial" else text)
    nofrost("prepare", "--source", "digits", "--limit", 60, "--image-size", 8, "--out", folder / "dataset")
    train = folder / "runs/st/seed-0/train"
    sets = [word for override in TRAIN for word in ("--set", override)]
    nofrost("train", "--recipe", "st", *sets, "--dataset", folder / "dataset", "--out", train)
    for name in SUITES:
        out = train.parent / f"evaluate-{name}"
        suite = folder / f"{name}.yaml"
        nofrost("evaluate", "--suite", suite, "--dataset", folder / "dataset", "--checkpoint", train, "--out", out)
        assert (out / "metrics.json").is_file()
    study = load_study("digits", ["runs.recipe=[st]", "augmentation.methods=[]", "dataset.limit=60"])
    (folder / "params.yaml").write_text(study_as_yaml(study), encoding="utf-8")
    store = open_store(str(folder / "store"))
    output = Output("data/dataset", push(folder / "dataset", store))
    write_candidate([output], study=study, run="a-run", image="image@1", source=None, store=store)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The process that runs commands; it takes a list of them on a line, and answers with a line for each."""
    folder = tmp_path_factory.mktemp("server")
    environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def images(folder: Path) -> None:
    """Write class folders with pictures in six formats."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for suffix in ("png", "jpg", "bmp", "tiff", "webp", "ppm"):
            Image.fromarray(pixels).save(folder / name / f"one.{suffix}")


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def archive(chance: random.Random) -> bytes:
    """Return an archive with the names of CIFAR-10's files, packed in some way."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=chance.choice(("w:gz", "w:xz", "w:bz2", "w"))) as tar:
        for name in ("data_batch_1", "batches.meta", "../evil", "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = 100
            tar.addfile(member, io.BytesIO(bytes(100)))
    return buffer.getvalue()


def unchanged(content: bytes, chance: random.Random) -> bytes:
    return content


def changed(folder: Path, name: str, content: bytes | str, chance: random.Random, *changes: Change) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(chance.choice(changes)(content.encode() if isinstance(content, str) else content, chance))
    return path


def a_copy(original: Path, folder: Path, chance: random.Random, changes: dict[str, tuple[Change, ...]]) -> Path:
    """Copy a folder of the world and change one of its files."""
    copy = folder / "input"
    shutil.copytree(original, copy)
    paths = sorted(path for path in copy.rglob("*") if path.suffix in changes)
    # what nothing reads need not be changed often
    read = [
        path for path in paths if path.stem in ("best", "manifest", "metrics", "images", "labels", "flags", "record")
    ]
    path = chance.choice(read if chance.random() < 0.9 else paths)
    changed(path.parent, path.name, path.read_bytes(), chance, *changes[path.suffix])
    return copy


def recipe(world: World, folder: Path, chance: random.Random) -> list[Any]:
    name = chance.choice(("st", "sat", "fast", "nofrost", "trades-fat-cifar", "xie2020-bn-clean"))
    values = load_recipe(name).as_json()
    if chance.random() < 0.6:
        values = mutations.of_values(values, chance)
    text = json.dumps(values) if chance.random() < 0.3 else as_yaml(values)
    path = changed(folder, "mine.yaml", text, chance, mutations.of_text, mutations.of_bytes, unchanged)
    return ["recipes", "show", path] if chance.random() < 0.7 else ["recipes", "diff", "sat", path]


def study(world: World, folder: Path, chance: random.Random) -> list[Any]:
    text = (world / "params.yaml").read_bytes()
    path = changed(folder, "mine.yaml", text, chance, mutations.of_text, mutations.of_text, mutations.of_bytes)
    return ["study", "select", path] if chance.random() < 0.5 else ["study", "show", path]


def suite(world: World, folder: Path, chance: random.Random) -> list[Any]:
    path = changed(folder, "mine.yaml", SUITES[chance.choice(("adversarial", "ood"))], chance, mutations.of_text)
    # a suite that is still right may take hours
    return ["evaluate", "--suite", path, "--dataset", "none", "--checkpoint", "none", "--out", "out"]


def npz(world: World, folder: Path, chance: random.Random) -> list[Any]:
    buffer = io.BytesIO()
    numbers = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3))
    np.savez_compressed(buffer, images=numbers.astype(np.uint8), labels=np.arange(24) % 2)
    path = changed(folder, "mine.npz", buffer.getvalue(), chance, mutations.of_members, mutations.of_bytes)
    return ["prepare", "--source", "npz", "--path", path, "--out", "out"]


def idx_files(world: World, folder: Path, chance: random.Random) -> list[Any]:
    files = {
        "train-images-idx3-ubyte": idx(np.arange(24 * 64).reshape(24, 8, 8) % 256),
        "train-labels-idx1-ubyte": idx(np.arange(24) % 2),
    }
    wrong = chance.choice(sorted(files))
    for name, content in files.items():
        change = mutations.of_bytes if name == wrong else unchanged
        path = changed(folder / "in", name, content, chance, change)
        if chance.random() < 0.5:
            path.write_bytes(gzip.compress(path.read_bytes()))
            path = path.rename(path.with_name(f"{name}.gz"))
            changed(path.parent, path.name, path.read_bytes(), chance, change, unchanged, unchanged)
    return ["prepare", "--source", "idx", "--path", "in", "--out", "out"]


def cifar10(world: World, folder: Path, chance: random.Random) -> list[Any]:
    path = changed(folder, "cifar-10-python.tar.gz", archive(chance), chance, mutations.of_bytes)
    return ["prepare", "--source", "cifar10", "--path", path, "--out", "out"]


def photos(world: World, folder: Path, chance: random.Random) -> list[Any]:
    images(folder / "photos")
    path = chance.choice(sorted((folder / "photos").rglob("one.*")))
    changed(path.parent, path.name, path.read_bytes(), chance, mutations.of_bytes)
    return ["prepare", "--source", "folder", "--path", "photos", "--image-size", "8", "--out", "out"]


def checkpoint(world: World, folder: Path, chance: random.Random) -> list[Any]:
    tensors = (mutations.of_tensors, mutations.of_bytes)
    changes = {".json": (mutations.of_json, mutations.of_text), ".safetensors": tensors}
    copy = a_copy(world / "runs/st/seed-0/train", folder, chance, changes)
    if chance.random() < 0.4:
        return ["models", "show", copy]
    suite = world / "adversarial.yaml"
    return ["evaluate", "--suite", suite, "--dataset", world / "dataset", "--checkpoint", copy, "--out", "out"]


def manifest(world: World, folder: Path, chance: random.Random) -> list[Any]:
    changes = {".json": (mutations.of_json, mutations.of_text), ".npy": (mutations.of_array, mutations.of_bytes)}
    copy = a_copy(world / "dataset", folder, chance, changes)
    if chance.random() < 0.5:
        return ["augment", "--dataset", copy, "--set", "methods=[tda]", "--out", "out"]
    checkpoint = world / "runs/st/seed-0/train"
    return ["evaluate", "--suite", world / "ood.yaml", "--dataset", copy, "--checkpoint", checkpoint, "--out", "out"]


def listing(world: World, folder: Path, chance: random.Random) -> list[Any]:
    """A store's list of the files of a folder, under the address that the changed list has."""
    shutil.copytree(world / "store", folder / "store")
    original = next((world / "store").rglob("*.dir"))
    content = chance.choice((mutations.of_json, mutations.of_text, mutations.of_bytes))(original.read_bytes(), chance)
    md5 = hashlib.md5(content).hexdigest()
    path = folder / "store/files/md5" / md5[:2] / f"{md5[2:]}.dir"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if chance.random() < 0.6:
        return ["store", "pull", f"out@{md5}.dir", "--store", "store"]
    return ["store", chance.choice(("ls", "verify")), f"{md5}.dir", "--store", "store"]


def dvc_configuration(world: World, folder: Path, chance: random.Random) -> list[Any]:
    text = (
        "[core]\n    remote = mine\n    analytics = false\n['remote \"mine\"']\n    url = store\n"
        "['remote \"other\"']\n    url = s3://bucket/prefix\n    endpointurl = http://localhost:1\n"
    )
    (folder / "dvc.yaml").touch()
    changed(folder / ".dvc", "config", text, chance, mutations.of_text, mutations.of_bytes)
    return ["store", "ls"]


def evaluation(world: World, folder: Path, chance: random.Random) -> list[Any]:
    changes = {".json": (mutations.of_json, mutations.of_text), ".npz": (mutations.of_members, mutations.of_bytes)}
    if chance.random() < 0.7:
        copy = a_copy(world / "runs/st/seed-0/evaluate-adversarial", folder, chance, changes)
        return ["card", copy, "--name", "A model", "--authors", "A. One"]
    copy = a_copy(world / "runs", folder, chance, changes)
    study = world / "params.yaml"
    return ["report", "--study", study, "--dataset", world / "dataset", "--runs", copy, "--out", "out"]


def candidate(world: World, folder: Path, chance: random.Random) -> list[Any]:
    shutil.copytree(world / "store", folder / "store")
    path = next((folder / "store").rglob("a-run.yaml"))
    changed(path.parent, path.name, path.read_bytes(), chance, mutations.of_text, mutations.of_bytes)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / ".dvc").mkdir()
    return ["promote", *chance.choice((["show"], [])), "a-run", "--store", "store"]


# Each kind of input with its share of all.
KINDS: dict[Callable[[World, Path, random.Random], list[Any]], int] = {
    recipe: 14, study: 14, suite: 10, npz: 10, idx_files: 8, cifar10: 5, photos: 8, checkpoint: 10, manifest: 8,
    listing: 5, dvc_configuration: 4, evaluation: 9, candidate: 3,
}  # fmt: skip


def contents(folder: Path) -> dict[str, str]:
    """Return the checksum of each file that is not of the output of a command, nor of what it left unfinished."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = ((path, path.relative_to(folder).parts[0]) for path in files)
    own = ("out", "params.yaml", "tmp", "home")
    kept = [path for path, first in names if first not in own and not first.startswith((".out.", ".params"))]
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in kept}


def complaints(folder: Path, code: int | None, before: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with the end of a run in `folder`."""
    printed = Path(f"{folder}.stderr").read_text(encoding="utf-8", errors="backslashreplace")
    sentences = [line for line in printed.splitlines() if line.startswith("nofrost: ")]
    if code is None:
        yield "it took more than 10 s"
    elif code not in (0, 2):
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
    kind: Callable[[World, Path, random.Random], list[Any]], world: World, server: subprocess.Popen[str], tmp_path: Path
) -> None:
    runs, before = [], {}
    for number in range(max(1, INPUTS * KINDS[kind] // sum(KINDS.values()))):
        folder = tmp_path / f"{number:04}"
        folder.mkdir()
        arguments = kind(world, folder, random.Random(f"{SEED} {kind.__name__} {number}"))
        runs.append({"folder": str(folder), "arguments": list(map(str, arguments))})
        before[str(folder)] = contents(folder)
    untouched = contents(world)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(runs) + "\n")
    server.stdin.flush()
    ends = {end["folder"]: end for end in (json.loads(server.stdout.readline()) for _ in runs)}
    failures = []
    for run in runs:
        folder = Path(run["folder"])
        if faults := list(complaints(folder, ends[run["folder"]]["code"], before[run["folder"]])):
            kept = KEPT / f"{kind.__name__}-{SEED}-{folder.name}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
            printed = Path(f"{folder}.stderr").read_text(encoding="utf-8", errors="backslashreplace")
            command = f"cd {kept} && nofrost {' '.join(run['arguments'])}".replace(str(folder), str(kept))
            failures.append(f"{', '.join(faults)}: {command}\n{printed[-1500:]}")
    assert not failures, f"{len(failures)} of {len(runs)}\n" + "\n".join(failures)
    assert contents(world) == untouched
