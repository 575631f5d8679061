"""What DVC finds in a checkout, and the contract with DVC on which that rests."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import nofrost
from nofrost.config import Study, study_as_yaml
from nofrost.errors import UserError
from nofrost.promotion import plan_promotion
from nofrost.promotion.candidate import code_refs, folder_ref
from nofrost.promotion.checkout import draft_entries
from nofrost.store import Ref

MODELS, TRANSFORMS = "components/nofrost/models", "components/nofrost/transforms"
MOVED = "DVC changed what nofrost/promotion/checkout.py uses of it: adapt that module, or pin dvc in pyproject.toml"


@pytest.fixture
def refs_here(clone: Path, digits_study: Callable[..., Study]) -> Callable[[], dict[str, Ref]]:
    """Let DVC hash the code of the clone."""

    def look() -> dict[str, Ref]:
        outs = ["data/dataset", "runs/st/seed-0/train"]
        return draft_entries(clone, digits_study().as_json(), outs, [MODELS, TRANSFORMS], "run").refs_here()

    return look


def test_code_refs_has_every_folder_and_file_of_the_package() -> None:
    package = Path(nofrost.__file__).parent
    names = {path.name for path in package.iterdir()} - {"__pycache__"}
    assert set(code_refs()) == {f"components/nofrost/{name}" for name in names}
    registry = (package / "registry.py").read_bytes()
    assert code_refs()["components/nofrost/registry.py"] == Ref(hashlib.md5(registry).hexdigest(), len(registry))


def test_dvc_gives_code_in_a_checkout_the_refs_that_a_pod_computes(clone: Path, refs_here: Any) -> None:
    assert list((clone / TRANSFORMS).rglob("*.pyc")), "there must be something to ignore"
    here = refs_here()
    assert here == {folder: code_refs()[folder] for folder in (MODELS, TRANSFORMS)}
    (clone / TRANSFORMS / "__init__.py").write_text("# changed")
    changed = refs_here()
    assert changed[TRANSFORMS] != here[TRANSFORMS]
    assert changed[MODELS] == here[MODELS]


def test_python_caches_are_ignored_as_dvc_ignores_them(clone: Path, refs_here: Any) -> None:
    before = folder_ref(clone / MODELS)
    (clone / MODELS / "__pycache__" / "of-another-tool.index").write_text("cached")
    (clone / MODELS / "lone.pyc").write_text("compiled")
    assert refs_here()[MODELS] == before
    assert folder_ref(clone / MODELS) == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["absolute", "above the checkout", "a file", "a link"])
def test_source_data_may_be_anywhere(
    kind: str, world: Any, clone: Path, tmp_path: Path, digits_study: Callable[..., Study]
) -> None:
    """Its ref is compared with that of the run where it is here; dvc.lock gets the path as params.yaml has it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one").write_text("1")
    (clone / "photo").write_text("1")
    (clone / "link").symlink_to(tmp_path / "photos")
    path = {
        "absolute": str(tmp_path / "photos"),
        "above the checkout": "../photos",
        "a file": "photo",
        "a link": "link",
    }[kind]
    md5 = hashlib.md5(b"1").hexdigest()
    here = Ref(md5, 1) if kind == "a file" else folder_ref(tmp_path / "photos")
    study = digits_study(f"dataset.path={path}")
    (clone / "params.yaml").write_text(study_as_yaml(study), encoding="utf-8")
    same = world.leave(f"same-{kind}".replace(" ", "-"), study=study, source=here)
    promotion = plan_promotion(same, world.store, clone)
    assert promotion.differing_inputs == ()
    promotion.write(params=True)
    deps = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))["stages"]["prepare"]["deps"]
    assert {"path": path, "md5": here.md5}.items() <= next(dep for dep in deps if dep["path"] == path).items()
    other = world.leave(f"other-{kind}".replace(" ", "-"), study=study, source=Ref("ab" * 16))
    assert plan_promotion(other, world.store, clone).differing_inputs == (path,)


def test_stages_that_are_not_promoted_need_not_be_complete(world: Any, clone: Path) -> None:
    """dvc.yaml may have another stage, with parameters in a file that no run has."""
    text = (
        clone / "dvc.yaml"
    ).read_text() + "  another:\n    cmd: x\n    params:\n      - another.yaml:\n          - a\n"
    (clone / "dvc.yaml").write_text(text + "    outs:\n      - another.txt\n")
    assert plan_promotion(world.leave("whole"), world.store, clone).changes


def test_paths_of_a_stage_with_wdir_are_relative_to_it(world: Any, clone: Path) -> None:
    text = (clone / "dvc.yaml").read_text()
    old = text[text.index("  report:") :]
    new = old.replace("    deps:\n      - runs", "    wdir: below\n    deps:\n      - ../runs")
    new = new.replace("      - title\n      - runs\n", "      - ../params.yaml:\n          - title\n")
    (clone / "dvc.yaml").write_text(text.replace(old, new.replace("      - report.txt", "      - ../report.txt")))
    plan_promotion(world.leave("whole"), world.store, clone).write()
    entry = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))["stages"]["report"]
    assert [item["path"] for item in (*entry["deps"], *entry["outs"])] == ["../runs", "../report.txt"]
    assert entry["outs"][0]["md5"] == world.outputs[-1].ref.md5


def test_a_dvc_file_that_does_not_describe_one_output_is_refused(world: Any, clone: Path) -> None:
    shutil.rmtree(clone / "data" / "source")
    (clone / "data" / "source.dvc").write_text("outs: []\n")
    with pytest.raises(UserError, match=r"source\.dvc does not describe one file or folder"):
        plan_promotion(world.leave("whole"), world.store, clone)


def test_the_internals_of_dvc_that_promotion_uses_are_unchanged(tmp_path: Path) -> None:
    """DVC documents none of this as an interface."""
    try:
        from dvc.exceptions import DvcException
        from dvc.lock import LockError
        from dvc.repo import Repo

        assert {"force", "allow_missing"} <= set(inspect.signature(Repo.commit).parameters)
        assert issubclass(LockError, DvcException)
        (tmp_path / ".dvc").mkdir()
        (tmp_path / ".dvc/config").write_text(
            f"[core]\n    no_scm = true\n    site_cache_dir = {tmp_path / '.dvc/cache'}\n"
        )
        (tmp_path / "dvc.yaml").write_text(
            "stages:\n  a:\n    cmd: x\n    always_changed: true\n    deps: [here, missing]\n    outs: [out]\n"
        )
        (tmp_path / "here").write_text("1")
        with Repo(str(tmp_path)) as repo:
            [stage] = repo.index.stages
            assert stage.name == "a"
            paths = {item.def_path: item.fs_path for item in (*stage.deps, *stage.outs)}
            assert paths == {name: str(tmp_path / name) for name in ("here", "missing", "out")}
            repo.commit(force=True, allow_missing=True)
            repo.lock.lock()
            repo.lock.unlock()
    except Exception as error:
        raise AssertionError(MOVED) from error
    entry = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]["a"]
    assert entry == {
        "cmd": "x",
        "deps": [
            {"path": "here", "hash": "md5", "md5": hashlib.md5(b"1").hexdigest(), "size": 1},
            {"path": "missing", "hash": "md5"},
        ],
        "outs": [{"path": "out", "hash": "md5"}],
    }, MOVED
