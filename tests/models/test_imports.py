"""Code of a model imports what is beside it, and never what is beside the code of another model."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nofrost.models.reference import Reference

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
NET = """
import pickle
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def forward(self, images):
        return {sign} * images.flatten(1)

def net():
    file = Path(__file__).with_name("net.pkl")
    return pickle.loads(file.read_bytes()) if file.exists() else Net()
"""


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    """Write files into a folder of their own and return it."""

    def write(name: str, **files: str) -> Path:
        for file, text in files.items():
            path = tmp_path / name / file.replace("__", "/").replace("_py", ".py").replace("INIT", "__init__")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    return write


def answers(reference: str) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = Reference(reference).load()(IMAGES)
    return result


@pytest.mark.parametrize("stem", ["model", "utils", "torch", "pickle", "resnet.v2"])
@pytest.mark.parametrize("pickled", [True, False])
def test_files_of_one_name_are_each_their_own_module_also_for_pickles(
    repository: Callable[..., Path], stem: str, pickled: bool
) -> None:
    loaded = sys.modules.get(stem)
    references = []
    for name, sign in (("one", 1), ("two", -1)):
        folder = repository(name, model_py=NET.format(sign=sign))
        (folder / "model.py").rename(folder / f"{stem}.py")
        if pickled and stem in ("model", "utils"):
            # as Python writes it in that folder: a call of the class Net of the module `stem`
            (folder / "net.pkl").write_bytes(f"c{stem}\nNet\n)R.".encode())
        references.append(f"{folder / stem}.py:net")
    models = [Reference(reference).load() for reference in (*references, references[0])]
    for model, sign in zip(models, (1, -1, 1), strict=True):
        assert torch.equal(model(IMAGES), sign * IMAGES.flatten(1))
    assert sys.modules.get(stem) is loaded


LAYERS = """
from torch import nn
import helpers

class Small(nn.Module):
    def forward(self, images):
        import late
        return late.SIGN * helpers.SIGN * images.flatten(1)
"""


@pytest.mark.parametrize("package", [True, False])
def test_neighbours_of_one_name_are_those_of_each_file(repository: Callable[..., Path], package: bool) -> None:
    before, path = set(sys.modules), list(sys.path)
    models = []
    for name, sign in (("one", 1), ("two", -1)):
        files = {"nets_py": "from models.small import Small\ndef net():\n    return Small()\n"}
        files |= {"models__small_py": LAYERS, "helpers_py": f"SIGN = {sign}\n", "late_py": "SIGN = 1\n"}
        if package:
            files["models__INIT_py"] = ""
        models.append(Reference(f"{repository(name, **files)}/nets.py:net").load())
    # called only now, so that what the forward pass imports is asked for after the other file was loaded
    for model, sign in zip(models, (1, -1), strict=True):
        assert torch.equal(model(IMAGES), sign * IMAGES.flatten(1))
    left = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not left & {"nets", "models", "helpers", "late"}
    assert sys.path == path


def test_a_folder_that_the_code_adds_to_the_path_is_its_own(repository: Callable[..., Path]) -> None:
    code = "import sys\nsys.path.append(__file__.replace('nets.py', 'lib'))\nimport shared\n"
    code += "from torch import nn\nclass Net(nn.Module):\n    def forward(self, images):\n"
    code += "        return shared.SIGN * images.flatten(1)\n"
    models = [
        Reference(f"{repository(name, nets_py=code, lib__shared_py=f'SIGN = {sign}')}/nets.py:Net").load()
        for name, sign in (("one", 1), ("two", -1))
    ]
    assert [float(model(IMAGES).sum().sign()) for model in models] == [1, -1]
    assert "shared" not in sys.modules


def test_a_file_inside_a_package_may_import_relatively(repository: Callable[..., Path]) -> None:
    files = {"pkg__INIT_py": "", "pkg__layers_py": "SIGN = -1\n", "pkg__deep__INIT_py": ""}
    code = "from torch import nn\nclass Net(nn.Module):\n    def forward(self, images):\n"
    code += "        return SIGN * images.flatten(1)\n"
    files["pkg__deep__nets_py"] = f"from ..layers import SIGN\n{code}"
    files["pkg__flat_py"] = f"from layers import SIGN\n{code}"
    files["pkg__INIT_py"] = f"from .layers import SIGN\n{code}"
    folder = repository("one", **files)
    for place in ("pkg/deep/nets.py", "pkg/flat.py", "pkg/__init__.py", "pkg"):
        assert torch.equal(answers(f"{folder}/{place}:Net"), -IMAGES.flatten(1)), place


def test_a_module_of_the_current_folder_comes_first_and_is_set_aside(
    repository: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from torch import nn\nclass Net(nn.Module):\n    def forward(self, images):\n"
    for name, sign in (("one", 1), ("two", -1)):
        monkeypatch.chdir(repository(name, nets_py=f"{code}        return {sign} * images.flatten(1)\n"))
        assert torch.equal(answers("nets:Net"), sign * IMAGES.flatten(1))
    assert "nets" not in sys.modules


def test_the_checksum_of_the_code_covers_what_it_imports_beside_it(repository: Callable[..., Path]) -> None:
    sums = []
    for name in ("one", "two"):
        code = f"NUMBER = {len(name)}\n" if name == "one" else "NUMBER = 4\n"
        files = {"helpers_py": code, "nets_py": "import helpers\nfrom torch import nn\nnet = nn.Flatten()\n"}
        reference = Reference(f"{repository(name, **files)}/nets.py:net")
        reference.load()
        sums.append(reference.code_sha256())
    assert sums[0] != sums[1]


TWISTED = """
import os, signal, sys, warnings
import torch
from torch import nn

os.chdir("/")
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.autograd.set_detect_anomaly(True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
warnings.simplefilter("error")
print("loaded")
sys.stdout = sys.stderr = None
sys.argv.append("more")

class Net(nn.Module):
    def forward(self, images):
        print("called")
        return images.flatten(1)
"""


def test_what_the_code_changes_of_the_process_is_put_back(
    repository: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> str:
        values = [os.getcwd(), sys.argv, str(sys.stdout), str(sys.stderr), warnings.filters]  # noqa: PTH109
        values += [torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()]
        values += [torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled()]
        return json.dumps([*values, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)], default=str)

    before = state()
    model = Reference(f"{repository('one', nets_py=TWISTED)}/nets.py:Net").load()
    assert state() == before
    model(IMAGES)
    assert state() == before
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "loaded\ncalled\n")
