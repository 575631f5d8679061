"""The graph that `dvc repro` runs, and the whole pipeline on a small study."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.child_process import running

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
DESIGN = {  # the graph of docs/architecture.md: which stage feeds which
    ("prepare", "prepare-test-sets"),
    ("prepare", "augment"),
    ("prepare", "train"),
    ("augment", "train"),
    ("prepare", "evaluate-adversarial"),
    ("train", "evaluate-adversarial"),
    ("prepare", "evaluate-ood"),
    ("prepare-test-sets", "evaluate-ood"),
    ("train", "evaluate-ood"),
    ("prepare", "report"),
    ("augment", "report"),
    ("train", "report"),
    ("evaluate-adversarial", "report"),
    ("evaluate-ood", "report"),
}
FURTHER = {  # what a study of several datasets has besides, with the same edges among them
    f"{stage}-further" for stage in ("prepare", "augment", "train", "evaluate-adversarial", "evaluate-ood")
}
SMALL = (
    "dataset.limit=200",
    "augmentation.methods=[tda]",
    "runs.recipe=[st, nofrost]",
    *(f"recipes.{name}.schedule.epochs=2" for name in ("st", "nofrost")),
    "recipes.nofrost.schedule.threat_warmup_epochs=1",
    *(f"recipes.{name}.schedule.batch_size=32" for name in ("st", "nofrost")),
    "suites.adversarial.quick.attacks.apgd-ce-100.steps=5",
    "suites.adversarial.quick.attacks.square-200.queries=20",
    "suites.adversarial.quick.steps_curve.steps=[1, 2]",
    "suites.adversarial.quick.max_images=16",
    "suites.ood.quick.severities=[1]",
    "suites.ood.quick.max_images=16",
)


def call(*command: str, cwd: Path, check: bool = True) -> str:
    """Run a command in the environment of these tests and return what it printed."""
    end = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert end.returncode == 0 or not check, f"{' '.join(command)}\n{end.stdout}\n{end.stderr}"
    return end.stdout + end.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's tracked files in a git repository of its own, with a study that runs in a minute."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    listed = call("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    call("nofrost", "study", "select", "digits", *(f"--set={value}" for value in SMALL), cwd=folder)
    call("git", "init", "-q", cwd=folder)
    call("git", "add", "-A", cwd=folder)
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    call("git", *who, "commit", "-qm", "a small study", cwd=folder)
    return folder


def test_the_graph_is_that_of_the_design(clone: Path) -> None:
    drawn = call("dvc", "dag", "--dot", cwd=clone)
    edges = {tuple(name.partition("@")[0] for name in edge) for edge in re.findall(r'"([^"]+)" -> "([^"]+)"', drawn)}
    assert edges == DESIGN
    runs = {
        f"{stage}@{recipe}-0{suite}"
        for stage, suite in (("train", ""), ("evaluate-adversarial", "-quick"))
        for recipe in ("st", "nofrost")
    }
    assert all(f'"{run}"' in drawn for run in runs)


# What these modules do, say or refuse does not change what a stage writes.
REFUSALS = {"errors.py", "limits.py", "lock.py", "system_errors.py"}
NO_RESULT_DEPENDS_ON = {
    "__init__.py",
    *REFUSALS,
    "ends.py",
    "error_file.py",
    "heartbeat.py",
    "masking.py",
    "data_cache.py",
    "ranks.py",
    "rendezvous.py",
    "stopping.py",
    "study_state.py",
    "telemetry",
}


def imported(package: Path, part: str) -> set[str]:
    """Return the folders and files of the package that a part imports, directly or through others."""
    modules = [*(package / part).rglob("*.py")] if (package / part).is_dir() else [package / f"{part}.py"]
    names: set[str] = set()
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nofrost":
                inside = (node.module or "").split(".")[1:2]
                names |= set(inside) if inside else {alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nofrost.")}
    return names


@pytest.mark.parametrize("stage", sorted({stage for edge in DESIGN for stage in edge} | FURTHER))
def test_a_stage_depends_on_the_code_that_it_imports(stage: str) -> None:
    package = ROOT / "components" / "nofrost"
    code, new = set[str](), {stage.partition("-")[0]}
    while new:
        code |= new
        new = {name for part in new for name in imported(package, part)} - code
    files = {name if (package / name).is_dir() else f"{name}.py" for name in code}
    described = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    deps = described.get("do", described)["deps"]
    named = {dep.removeprefix("components/nofrost/") for dep in deps if dep.startswith("components/nofrost/")}
    facts = {"papers.yaml", "printed", "suites"}
    assert named - facts == files - NO_RESULT_DEPENDS_ON
    assert named & facts == (facts if stage == "report" else set())


def weights(folder: Path) -> dict[str, str]:
    """Return the checksum of every checkpoint below the runs of a project."""
    files = sorted((folder / "runs").glob("*/*/train/*.safetensors"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestTheWholePipeline:
    """In order: each test goes on from what the one before left."""

    def test_repro_ends_with_a_report(self, clone: Path) -> None:
        call("dvc", "repro", cwd=clone)
        page = (clone / "report" / "report.html").read_text(encoding="utf-8")
        assert "nofrost" in page
        assert "<svg" in page
        assert not list(clone.rglob(".*.nofrost-*"))
        assert call("git", "status", "--porcelain", cwd=clone) == "?? dvc.lock\n"

    def test_a_second_repro_does_nothing(self, clone: Path) -> None:
        assert "Running stage" not in call("dvc", "repro", cwd=clone)

    def test_metrics_params_and_plots_can_be_shown(self, clone: Path) -> None:
        metrics = json.loads(call("dvc", "metrics", "show", "--json", cwd=clone))
        assert "st" in json.dumps(metrics)
        params = (clone / "params.yaml").read_text()
        (clone / "params.yaml").write_text(
            params.replace("recipe:\n  - st\n", "recipe:\n  - st\n", 1).replace("lr: 0.1", "lr: 0.2", 1)
        )
        assert "recipes.st.optimiser.lr" in call("dvc", "params", "diff", cwd=clone)
        (clone / "params.yaml").write_text(params)
        call("dvc", "plots", "show", "-o", str(clone.parent / "plots"), cwd=clone)
        page = (clone.parent / "plots" / "index.html").read_text(encoding="utf-8")
        assert "nofrost" in page

    def test_changing_one_recipe_trains_that_one_again(self, clone: Path) -> None:
        plan = call("dvc", "repro", "--dry", cwd=clone)
        assert "Running stage" not in plan
        params = (clone / "params.yaml").read_text()
        (clone / "params.yaml").write_text(params.replace("weight_decay: 0.0005", "weight_decay: 0.0004", 1))
        plan = call("dvc", "repro", "--dry", cwd=clone)
        (clone / "params.yaml").write_text(params)
        assert "'train@st-0'" in plan
        assert "Stage 'train@nofrost-0' didn't change" in plan

    def test_an_experiment_takes_values_from_the_command_line(self, clone: Path) -> None:
        call("git", "add", "-A", cwd=clone)
        call("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "ran", cwd=clone)
        call("dvc", "exp", "run", "-S", "recipes.st.threat.eps=16/255", "-S", "recipes.st.optimiser.lr=0.05", cwd=clone)
        record = json.loads((clone / "runs/st/seed-0/train/record.json").read_text())
        assert (record["config"]["threat"]["eps"], record["config"]["optimiser"]["lr"]) == ("16/255", 0.05)
        call("git", "checkout", "-q", ".", cwd=clone)
        call("dvc", "checkout", "--force", cwd=clone)

    @pytest.mark.parametrize("moment", ["in the first epoch", "after the first epoch", "near the end"])
    def test_kill_9_of_a_training_then_repro_gives_the_same_bits(self, clone: Path, moment: str) -> None:
        undisturbed = weights(clone)
        shutil.rmtree(clone / "runs/nofrost/seed-0/train")
        command = ["dvc", "repro", "--force", "--single-item", "train@nofrost-0"]
        with running(command, cwd=clone, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dvc:
            victim = wait_for(clone / "runs/nofrost/seed-0/.train.nofrost-partial", moment)
            assert victim is not None or moment == "near the end"
            if victim is not None:
                os.kill(victim, signal.SIGKILL)
            assert (dvc.wait(timeout=120) != 0) == (victim is not None)
        call("dvc", "repro", "train@nofrost-0", cwd=clone)
        assert weights(clone) == undisturbed


def wait_for(partial: Path, moment: str) -> int | None:
    """Wait until a training has come so far, and return the process that does it; None if it was too quick for us."""
    pattern = {
        "in the first epoch": "unfinished/fingerprint.json",
        "after the first epoch": "unfinished/state.json",
        "near the end": "best.*",
    }[moment]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if list(partial.glob(pattern)):
            return training_process(partial)
        if moment == "near the end" and (partial.parent / "train" / "best.json").exists():
            return None
        time.sleep(0.005)
    raise AssertionError(f"the training did not come to {pattern}")


def training_process(partial: Path) -> int | None:
    """Return the id of the process that runs `nofrost train --recipe nofrost` in the project that holds `partial`."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                arguments = (process / "cmdline").read_bytes().split(b"\0")
                folder = (process / "cwd").readlink()
            except OSError:
                continue
            # Others may train on this machine, too.
            if {b"train", b"--recipe", b"nofrost"} <= set(arguments) and partial.is_relative_to(folder):
                return int(process.name)
    return None
