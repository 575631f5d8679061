"""Who may import whom, what stays unloaded until it is needed, and what nobody may call."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "components" / "nofrost"
STAGES = ("prepare", "augment", "train", "evaluate", "report")

# A part may import parts of a lower level, and its own modules. The top of the package (nofrost/__init__.py) holds the
# version and loads nothing itself: everyone may import it.
LEVELS = {
    "pipelines": 10,
    "__main__": 10,
    "cli": 9,
    "tasks": 8,  # a stage between refs: what a container of the pipeline runs
    "cluster": 7,  # jobs on Kubernetes
    "study_cost": 6,  # trainings, passes and minutes of a study before it is run
    "study_run": 6,  # studies in folders of their own, by DVC
    "promotion": 7,  # a run's candidate, and bringing it into dvc.lock
    "champion": 7,  # the model that the gate of a study let in last
    "store": 6,  # content by its address, local or on S3: no stage knows it
    **dict.fromkeys(STAGES, 5),
    "verify": 5,  # faults of what prepare and augment wrote
    "attacks": 4,
    "models": 3,
    "data": 3,
    "transforms": 3,
    "registry": 3,
    "results": 3,  # what stages write and others read
    "config": 2,
    "measures": 2,
    "stage": 3,
    "lock": 2,
    "statistics": 1,
    "telemetry": 1,
    "files": 1,
    "processes": 3,
    "heartbeat": 2,
    "rendezvous": 1,
    "ranks": 0,  # without torch
    "data_cache": 0,
    "first_process": 0,
    "network_interface": 1,
    "stopping": 1,
    "seeds": 1,
    "shard": 0,
    "study_state": 0,  # what tells that a study is being run in a folder
    "system_errors": 0,
    "error_file": 0,
    "masking": -1,
    "ends": -1,
    "limits": -1,
    "errors": -2,
}
ONLY_FOR_STAGES_AND_ABOVE = ("stage", "telemetry")


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent if PACKAGE in path.parents else ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package and of pipelines/, parsed."""
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")]
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(files)}


def part_of(module: str) -> str:
    """The part that a module belongs to; "nofrost" for the top of the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nofrost" and len(parts) > 1 else parts[0]


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(tree: ast.AST, *, at_import: bool) -> Iterator[ast.AST]:
    """Walk the tree; `at_import` leaves out what runs later (functions) or never (TYPE_CHECKING)."""
    for node in ast.iter_child_nodes(tree):
        if at_import and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_type_checkers(node)):
            continue
        yield node
        yield from statements(node, at_import=at_import)


@cache
def imports(module: str, *, at_import: bool) -> set[str]:
    """Modules of ours that `module` imports; all of them, or those that are loaded when it is imported."""
    found: set[str] = set()
    for node in statements(modules()[module], at_import=at_import):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: write the whole name"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in names}
    return {name for name in found if name.split(".")[0] in ("nofrost", "pipelines")}


def test_there_are_modules_to_check() -> None:
    assert {"nofrost", "nofrost.config", "nofrost.errors", "nofrost.stage"} <= set(modules())
    assert imports("nofrost.stage", at_import=True) == {
        "nofrost.errors",
        "nofrost.files",
        "nofrost.limits",
        "nofrost.lock",
        "nofrost.stopping",
        "nofrost.system_errors",
    }
    assert "torch" not in imports("nofrost.data.split", at_import=False)


def test_every_imported_module_of_ours_exists() -> None:
    for module in modules():
        missing = imports(module, at_import=False) - set(modules())
        assert not missing, f"{module} imports {sorted(missing)}"


@pytest.mark.parametrize("module", modules())
def test_imports_point_downwards_only(module: str) -> None:
    part = part_of(module)
    if part == "nofrost":
        assert not imports(module, at_import=True), "`import nofrost` loads nothing else"
        return
    assert part in LEVELS, f"say in LEVELS where {part} stands"
    for imported in imports(module, at_import=False):
        other = part_of(imported)
        if other in (part, "nofrost"):
            continue
        assert LEVELS[other] < LEVELS[part], f"{module} imports {imported}: {part} may not know {other}"
        if other in ONLY_FOR_STAGES_AND_ABOVE:
            assert LEVELS[part] >= LEVELS["train"], f"{module} imports {imported}, which is for stages"


def test_no_stage_imports_another_stage() -> None:
    for module in modules():
        if part_of(module) in STAGES:
            known = {part_of(imported) for imported in imports(module, at_import=False)}
            assert not known & set(STAGES) - {part_of(module)}, module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {}
    for module in modules():
        graph[module] = imports(module, at_import=True) - {module}
    for module, known in graph.items():  # a package that only gathers its own modules is no circle
        graph[module] = {name for name in known if not (name == part_name(module) and module in gathered(name))}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def part_name(module: str) -> str:
    return module.rpartition(".")[0]


def gathered(package: str) -> set[str]:
    return imports(package, at_import=True) if package in modules() else set()


HEAVY = (
    "torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "tqdm", "jinja2", "kfp", "dvc",
)  # fmt: skip
LIGHT = [
    name
    for name in ("nofrost", "nofrost.config", "nofrost.stage", "nofrost.telemetry", "nofrost.cli")
    if name != "nofrost.cli" or (PACKAGE / "cli.py").exists() or (PACKAGE / "cli").exists()
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    script = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert module in loaded
    assert not loaded & set(HEAVY)


def test_the_top_of_the_package_exports_its_names() -> None:
    import nofrost

    for name in ("attacks", "evaluate", "models"):
        assert getattr(nofrost, name) is sys.modules[f"nofrost.{name}"]
    assert nofrost.load_model is nofrost.models.load_model
    for name in nofrost.__all__:
        assert getattr(nofrost, name) is not None
        assert name in dir(nofrost)


def test_the_top_of_the_package_lists_what_there_is() -> None:
    import nofrost
    from nofrost.errors import UserError

    assert {"pgd", "apgd-ce", "square"} <= set(nofrost.list_attacks())
    assert {"st", "sat", "trades"} <= set(nofrost.list_objectives())
    assert {"adversarial-standard", "adversarial-wang2022", "ood-quick"} <= set(nofrost.list_suites())
    assert {"nofrost", "xie2020-mbn"} <= set(nofrost.list_recipes())
    assert set(nofrost.list_recipes("xie2020")) == {name for name in nofrost.list_recipes() if "xie2020" in name}
    assert set(nofrost.list_models("nf_resnet2*")) == {"nf_resnet26"}
    assert "resnet8" in nofrost.list_models()
    for names in (nofrost.list_attacks(), nofrost.list_objectives(), nofrost.list_recipes(), nofrost.list_suites()):
        assert names == sorted(names)
    with pytest.raises(UserError, match="xie2020"):
        nofrost.list_recipes("xie")


def test_the_top_of_the_package_has_no_other_attributes() -> None:
    import nofrost

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = nofrost.nonsense
    assert sorted(nofrost.__all__) == nofrost.__all__


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    import nofrost

    assert nofrost.__version__ == version("nofrost")


# What runs code that came from outside, and who alone may come near it: CIFAR-10 is published as pickles, which are
# read by an Unpickler that knows a handful of names.
PICKLES = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
MAY_UNPICKLE = "nofrost.prepare.sources.cifar"
# The published networks of DeepAugment are torch's files, of which torch reads tensors alone.
MAY_LOAD = "nofrost.models.torch_files"
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    "os": {"system", "popen", "execv", "execve", "execvp", "spawnl", "spawnv"},
    "torch": {"load"},
    "yaml": {"unsafe_load", "full_load", "unsafe_load_all", "full_load_all", "UnsafeLoader", "FullLoader", "Loader"},
    "subprocess": {"getoutput", "getstatusoutput"},
}


def dangers(tree: ast.Module) -> Iterator[str]:
    """Return a line for each dangerous thing in a module, whoever may do it."""
    known_as = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if (node.module or "").split(".")[0] in PICKLES or names & ATTRIBUTES.get(node.module or "", set()):
                yield f"from {node.module} import {', '.join(sorted(names))}"
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield f"{node.func.id}("
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else "?"
                if keyword.arg == "shell" and value is not False:
                    yield "shell="
                if keyword.arg == "allow_pickle" and value is not False:
                    yield "allow_pickle="
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = known_as.get(node.value.id, node.value.id)
            if node.attr in ATTRIBUTES.get(owner, set()):
                yield f"{owner}.{node.attr}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import torch\ntorch.load(p)", "torch.load"),
        ("import torch as t\nx = t.load", "torch.load"),
        ("from torch import load", "from torch import load"),
        ("import pickle", "import pickle"),
        ("from pickle import Unpickler", "from pickle import Unpickler"),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", "allow_pickle="),
        ("np.load(p, allow_pickle=flag)", "allow_pickle="),
        ("eval('1')", "eval("),
        ("exec(text)", "exec("),
        ("import os\nos.system('x')", "os.system"),
        ("from os import system", "from os import system"),
        ("import subprocess\nsubprocess.run('x', shell=True)", "shell="),
        ("import yaml\nyaml.load(t, yaml.Loader)", "yaml.Loader"),
        ("import yaml\nyaml.unsafe_load(t)", "yaml.unsafe_load"),
    ],
)
def test_the_search_for_dangers_finds_them(code: str, found: str) -> None:
    assert list(dangers(ast.parse(code))) == [found]


@pytest.mark.parametrize(
    "code",
    ["model.eval()", "np.load(p, allow_pickle=False)", "yaml.safe_load(t)", "json.load(f)", "run(x, shell=False)"],
)
def test_the_search_for_dangers_lets_harmless_things_pass(code: str) -> None:
    assert not list(dangers(ast.parse(code)))


@pytest.mark.parametrize("module", modules())
def test_nothing_runs_code_from_outside(module: str) -> None:
    found = list(dangers(modules()[module]))
    if module == MAY_UNPICKLE:
        found = [danger for danger in found if danger not in ("import pickle", "from pickle import Unpickler")]
    if module == MAY_LOAD:
        found = [danger for danger in found if danger not in ("from pickle import UnpicklingError", "torch.load")]
    assert not found


def test_torch_loads_tensors_alone() -> None:
    calls = [
        node
        for node in ast.walk(modules()[MAY_LOAD])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"
    ]
    assert calls
    for call in calls:
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        assert isinstance(options["weights_only"], ast.Constant)
        assert options["weights_only"].value is True


def test_the_one_unpickler_knows_its_names() -> None:
    if MAY_UNPICKLE not in modules():
        pytest.skip("the source is not there yet")
    tree = modules()[MAY_UNPICKLE]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    methods = {item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef)}
    assert "find_class" in methods, "an Unpickler without find_class knows every name there is"
    called = {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }
    assert not called & {"pickle.load", "pickle.loads", "pickle.Unpickler"}


# Distributions by the name they are imported under, where the two differ, and those that come with another one.
IMPORTED_AS = {
    "model-registry": "model_registry",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "ruamel.yaml": "ruamel",
}
COMES_WITH = {
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
    "botocore": "boto3",
    "kfp_server_api": "kfp",
    "kubernetes": "kfp",
    "google": "kfp",
}


def test_pyproject_names_what_is_imported_and_no_more() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(entry for name in extras if name != "dev" for entry in extras[name])]
    names = {re.split(r"[\[<>=!~ ]", entry)[0] for entry in needed} - {"nofrost"}
    imported = {
        name.split(".")[0]
        for tree in modules().values()
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    third_party = {COMES_WITH.get(name, name) for name in imported - {"nofrost", "pipelines", *sys.stdlib_module_names}}
    assert {IMPORTED_AS.get(name, name) for name in names} == third_party
