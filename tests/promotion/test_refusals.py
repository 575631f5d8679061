"""Errors of a promotion: one sentence each, and dvc.lock does not change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import Study
from nofrost.errors import UserError
from nofrost.promotion import plan_promotion
from nofrost.store import Output, open_store, push
from nofrost.store.base import object_name

pytestmark = pytest.mark.slow


def remove(name: str) -> Callable[[Path], None]:
    return lambda clone: (clone / name).rename(clone / "elsewhere")


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda clone: (clone / name).write_text(text) and None


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        text = (clone / name).read_text(encoding="utf-8")
        assert old in text
        (clone / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


CONFLICT = "schema: '2.0'\nstages:\n<<<<<<< HEAD\n  a: {cmd: x}\n=======\n  a: {cmd: y}\n>>>>>>> theirs\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("dvc.yaml"), "has no dvc.yaml: promote in the top folder of a checkout"),
        (remove(".dvc"), "has no .dvc folder: promote in the top folder of a checkout"),
        (write("dvc.yaml", "stages: ["), r"DVC cannot use .*dvc\.yaml \(.*\): fix it"),
        (write("dvc.yaml", "stages: {a: {cmd: x, outs: [report.txt]}}"), r"no stage that makes data/dataset, as run "),
        (
            replace("dvc.yaml", "      - report.txt", "      - report.txt\n      - more.txt"),
            "reads or writes more.txt, which is neither in run",
        ),
        (
            replace("dvc.yaml", "    deps:\n      - runs\n", "    deps:\n      - runs\n      - notes.txt\n"),
            "reads or writes notes.txt, which is neither in run",
        ),
        (replace("dvc.yaml", "      - title", "      - no_such_key"), r"no_such_key.* missing from 'params.yaml'"),
        (write("dvc.lock", CONFLICT), "dvc.lock is in a merge conflict: end the merge"),
        (write("dvc.lock", "schema: ["), r"DVC cannot use .*dvc\.lock .*: put it back with `git checkout dvc.lock`"),
        (write("dvc.lock", "schema: '9'\nstages: {}\n"), r"DVC cannot use .*dvc\.lock "),
        (write("dvc.lock", "[]"), r"DVC cannot use .*dvc\.lock "),
        (lambda clone: (clone / "dvc.lock").write_bytes(b"\xff"), r"cannot read .*dvc\.lock"),
        (lambda clone: (clone / "dvc.lock").mkdir(), r"cannot read .*dvc\.lock"),
        (write("params.yaml", "recipes: ["), r"DVC cannot use .*params\.yaml"),
        (write("params.yaml", "[a]"), r"params\.yaml is not a mapping"),
        (
            lambda clone: shutil.rmtree(clone / "data" / "source"),
            "reads or writes data/source.*fetch it if it is source",
        ),
    ],
)
def test_a_checkout_that_does_not_fit_is_refused(
    world: Any, clone: Path, change: Callable[[Path], None], message: str
) -> None:
    change(clone)
    with pytest.raises(UserError, match=message) as error:
        plan_promotion(world.leave("whole"), world.store, clone)
    assert "\n" not in str(error.value)


def test_an_unknown_run_is_refused(world: Any, clone: Path) -> None:
    world.leave("whole")
    with pytest.raises(UserError, match="closest are whole"):
        plan_promotion("whol", world.store, clone)


@pytest.mark.parametrize("which", ["the list of a folder", "a file of a folder", "a single file"])
def test_an_output_that_is_missing_in_the_store_is_refused(world: Any, clone: Path, tmp_path: Path, which: str) -> None:
    store = open_store(str(shutil.copytree(world.store.url, tmp_path / "store")))
    dataset, *_, report = world.outputs
    listed = world.store.get(object_name(dataset.ref.md5)).decode()
    photo = next(item["md5"] for item in yaml.safe_load(listed) if item["relpath"] == "images/photo")
    lost = {"the list of a folder": dataset.ref.md5, "a file of a folder": photo, "a single file": report.ref.md5}[
        which
    ]
    (tmp_path / "store" / object_name(lost)).unlink()
    path = report.path if which == "a single file" else dataset.path
    world.leave("whole")
    (tmp_path / "store/nofrost").mkdir(exist_ok=True)
    shutil.copytree(Path(world.store.url) / "nofrost", tmp_path / "store/nofrost", dirs_exist_ok=True)
    with pytest.raises(UserError, match=f"no longer has all of {path} of run whole .{lost} is missing.*--store"):
        plan_promotion("whole", store, clone)


def test_a_study_that_is_not_the_active_one_is_refused_and_its_keys_are_named(
    world: Any, clone: Path, digits_study: Callable[..., Study]
) -> None:
    overrides = [
        f"recipes.st.optimiser.{key}" for key in ("lr=0.3", "momentum=0.8", "nesterov=false", "weight_decay=0")
    ]
    run = world.leave("other-study", study=digits_study(*overrides))
    promotion = plan_promotion(run, world.store, clone)
    with pytest.raises(UserError, match=r"recipes.st.optimiser.lr: 0.1 here, 0.3 in the run; .*; and 1 more\): select"):
        promotion.write(force=True)
    assert not (clone / "dvc.lock").exists()


def test_what_the_promoted_stages_do_not_depend_on_may_differ(
    world: Any, clone: Path, digits_study: Callable[..., Study]
) -> None:
    run = world.leave("other-note", study=digits_study("note=another", "suites.ood.quick.seed=5"))
    assert plan_promotion(run, world.store, clone).differing_params == ()


def test_a_run_of_a_recipe_that_is_not_in_the_active_study_is_refused(
    world: Any, clone: Path, digits_study: Callable[..., Study]
) -> None:
    output = Output("runs/mbnat/seed-0/train", world.outputs[1].ref)
    run = world.leave("mbnat", outputs=[world.outputs[0], output], study=digits_study("runs.recipe=[mbnat]"))
    promotion = plan_promotion(run, world.store, clone)
    with pytest.raises(UserError, match=r'runs.recipe: \["st", "sat"\] here, \["mbnat"\] in the run'):
        promotion.write()
    promotion.write(params=True)
    assert "train@mbnat-0" in (clone / "dvc.lock").read_text(encoding="utf-8")


def test_a_study_that_another_version_spelled_out_is_not_written_to_params_yaml(world: Any, clone: Path) -> None:
    name = f"nofrost/locks/{world.leave('older')}.yaml"
    values = yaml.safe_load(world.store.get(name))
    del values["study"]["recipes"]["st"]["model"]["drop_path"]
    world.store.put(name, yaml.safe_dump(values).encode())
    promotion = plan_promotion("older", world.store, clone)
    assert promotion.differing_params == (("recipes.st.model.drop_path", "0.0", "nothing"),)
    before = (clone / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=r"spelled out by nofrost .* which has other keys"):
        promotion.write(params=True)
    assert (clone / "params.yaml").read_bytes() == before
    assert not (clone / "dvc.lock").exists()


def test_other_code_here_is_refused_unless_forced(world: Any, clone: Path) -> None:
    (clone / "components/nofrost/models/norms.py").write_text("# changed")
    shutil.rmtree(clone / "components/nofrost/transforms")
    promotion = plan_promotion(world.leave("whole"), world.store, clone)
    assert promotion.differing_inputs == ("components/nofrost/models", "components/nofrost/transforms")
    with pytest.raises(UserError, match=r"in components/nofrost/models, .*their stages again: .*image@1.*--force"):
        promotion.write()
    assert not (clone / "dvc.lock").exists()
    promotion.write(force=True)
    lock, by_dvc = (clone / "dvc.lock").read_text(), (world.repro / "dvc.lock").read_text()
    assert lock in by_dvc.replace(by_dvc[by_dvc.index("  notes:") : by_dvc.index("  prepare:")], ""), "the run's code"


def test_a_stage_without_parameters_needs_no_study(world: Any, clone: Path) -> None:
    """Other keys of params.yaml than those of the stage do not count as a difference."""
    text = (clone / "dvc.yaml").read_text().replace("    params:\n      - title\n      - runs\n", "")
    (clone / "dvc.yaml").write_text(text)
    run = world.leave("report", outputs=world.outputs[1:])
    with pytest.raises(UserError, match="reads or writes data/dataset"):
        plan_promotion(run, world.store, clone)
    (clone / "dvc.yaml").write_text(text.replace("      - runs\n", "      - data/source\n"))
    run = world.leave("report", outputs=world.outputs[3:])
    assert plan_promotion(run, world.store, clone).differing_params == ()


def test_code_that_no_promoted_stage_depends_on_may_differ(world: Any, clone: Path) -> None:
    (clone / "components/nofrost/models/norms.py").write_text("# changed")
    promotion = plan_promotion(world.leave("dataset", outputs=world.outputs[:1]), world.store, clone)
    assert promotion.differing_inputs == ()


def test_a_dvc_lock_that_changed_meanwhile_is_not_overwritten(world: Any, clone: Path) -> None:
    promotion = plan_promotion(world.leave("whole"), world.store, clone)
    (clone / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    with pytest.raises(UserError, match="has changed meanwhile: promote the run again"):
        promotion.write()
    assert (clone / "dvc.lock").read_text() == "schema: '2.0'\nstages: {}\n"


def test_nothing_is_written_while_dvc_is_running(world: Any, clone: Path) -> None:
    from dvc.repo import Repo

    promotion = plan_promotion(world.leave("whole"), world.store, clone)
    with Repo(str(clone)) as repo, repo.lock, pytest.raises(UserError, match="DVC is running in"):
        promotion.write()
    assert not (clone / "dvc.lock").exists()
    promotion.write()


def test_an_error_of_the_disk_is_one_sentence(world: Any, clone: Path) -> None:
    promotion = plan_promotion(world.leave("whole"), world.store, clone)
    (clone / "params.yaml").unlink()
    (clone / "params.yaml").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*params\.yaml"):
        promotion.write(params=True)
    assert not (clone / "dvc.lock").exists()


def test_without_dvc_the_error_says_what_to_install(world: Any, clone: Path) -> None:
    script = f"""
import sys
sys.modules["dvc"] = None
from pathlib import Path
from nofrost.errors import UserError
from nofrost.promotion import plan_promotion
from nofrost.store import open_store
try:
    plan_promotion("whole", open_store({world.store.url!r}), Path({str(clone)!r}))
except UserError as error:
    print(error)
"""
    world.leave("whole")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (
        "DVC is not installed here: install it with `pip install 'nofrost[dvc]'`\n",
        "",
    )


def test_an_output_inside_another_one_has_no_stage(world: Any, clone: Path) -> None:
    inside = Output("data/dataset/images", push(world.repro / "data/dataset/images", world.store))
    with pytest.raises(UserError, match="no stage that makes data/dataset/images"):
        plan_promotion(world.leave("inside", outputs=[*world.outputs, inside]), world.store, clone)
