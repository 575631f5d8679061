"""A model that a function returns is loaded by module or file; any fault is one sentence."""

from __future__ import annotations

import copy
import hashlib
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nofrost.errors import StoppedError, UserError
from nofrost.models.reference import Reference
from nofrost.stopping import stopped_by_sigterm

CODE = """
import torch
from torch import nn

class Tiny(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :3]

def tiny():
    return Tiny().train()

def linear(classes, bias=True):
    return nn.Linear(4, classes, bias=bias)

def number():
    return 7

def failing():
    raise FileNotFoundError("weights.pt is not there\\nand more")

ready = Tiny()
constant = 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with two modules of one's own."""
    (tmp_path / "own_nets.py").write_text(CODE)
    (tmp_path / "own_broken.py").write_text("import no_such_package_of_mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("own_nets", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("place", ["own_nets", "own_nets.py", "./own_nets.py"])
@pytest.mark.parametrize("name", ["tiny", "ready", "Tiny"])
def test_a_model_is_made_from_a_module_or_a_file_of_the_current_folder(place: str, name: str, tmp_path: Path) -> None:
    reference = Reference(f"{place}:{name}")
    model = reference.load()
    assert model(torch.ones(2, 1, 2, 2)).shape == (2, 3)
    assert not model.training
    assert reference.code_sha256() == hashlib.sha256((tmp_path / "own_nets.py").read_bytes()).hexdigest()


def test_the_function_is_called_with_the_settings() -> None:
    model = Reference("own_nets:linear", {"classes": 6, "bias": False}).load()
    assert (model.out_features, model.bias) == (6, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own_nets", "model 'own_nets' is not of the form module:function or file.py:function"),
        (":tiny", "is not of the form"),
        ("own_nets:", "is not of the form"),
        ("own_nets:a b", "is not of the form"),
        (
            "own_netz:tiny",
            "there is no module own_netz in .* or among the installed ones: choose another, or a file.py",
        ),
        ("own_nets.deeper:tiny", "own_nets.deeper"),
        ("no_such_file.py:tiny", "no_such_file.py is missing: name a file of Python code, or a module"),
        ("own_broken:tiny", "own_broken cannot be imported: it raised ModuleNotFoundError: No module named 'no_such_p"),
        ("own_broken.py:tiny", "own_broken.py cannot be imported: it raised ModuleNotFoundError"),
        ("own_nets:tinny", "unknown function of own_nets 'tinny': did you mean 'tiny'"),
        ("own_nets:number", "model own_nets:number is a int: it must be a torch.nn.Module"),
        ("own_nets:constant", "model own_nets:constant is a int: it must be a torch.nn.Module"),
        (
            "own_nets:linear",
            r"own_nets:linear cannot be created: it raised TypeError: .*missing 1 required .*'classes'",
        ),
        (
            "own_nets:failing",
            "own_nets:failing cannot be created: it raised FileNotFoundError: weights.pt is not there$",
        ),
    ],
)
def test_a_reference_that_cannot_be_loaded_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Reference(text).load()
    assert "\n" not in str(caught.value)


ENDINGS = """
import os, sys
from torch import nn
import torch

def exits(code=3): sys.exit(code)
def interrupts(): raise KeyboardInterrupt
def recurses(): return recurses()
def runs_out(): raise MemoryError
def stops(): raise StopIteration
def generates(): raise GeneratorExit
def own(): raise type("Own", (BaseException,), {})("mine")
def parses(): __import__("argparse").ArgumentParser().parse_args(["--depth"])
def nothing(): pass
def state(): return nn.Linear(2, 2).state_dict()
def pair(): return nn.Linear(2, 2), "optimiser"
def kind(): return nn.Linear
def unfinished(): return nn.Module.__new__(nn.Linear)

class ForbidsEval(nn.Sequential):
    def eval(self): raise NotImplementedError("Calling eval() is not supported yet.")
    def train(self, mode=True): raise NotImplementedError("Calling train() is not supported yet.")

def forbids(): return ForbidsEval(nn.Flatten(), nn.Dropout())

def exported():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    batch = {0: torch.export.Dim("batch")}
    return torch.export.export(model, (torch.rand(2, 1, 2, 2),), dynamic_shapes=(batch,)).module()

def scripted(): return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
def compiled(): return torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), backend="eager")

def __getattr__(name): raise RuntimeError("ask for nothing")
"""


@pytest.fixture
def endings(tmp_path: Path) -> str:
    (tmp_path / "endings.py").write_text(ENDINGS)
    return "endings.py"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("exits", "it raised SystemExit: 3, which would end the process"),
        ("interrupts", "it raised KeyboardInterrupt"),
        ("recurses", "it raised RecursionError: maximum recursion depth exceeded"),
        ("runs_out", "it raised MemoryError"),
        ("stops", "it raised StopIteration"),
        ("generates", "it raised GeneratorExit"),
        ("own", "it raised Own: mine"),
        ("parses", "it raised SystemExit: 2"),
        ("nothing", "is a NoneType: it must be"),
        ("state", "is a OrderedDict: it must be"),
        ("pair", "is a tuple: it must be"),
        ("kind", "is a type: it must be"),
        ("unfinished", "it raised AttributeError"),
        ("absent", "it raised RuntimeError: ask for nothing"),
    ],
)
def test_whatever_the_function_does_ends_in_one_sentence(endings: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Reference(f"{endings}:{name}").load()
    assert "\n" not in str(caught.value)
    assert f"endings.py:{name}" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["raise SystemExit(0)", "raise KeyboardInterrupt", "def (", "\0", "raise Exception('a\\nb')"]
)
@pytest.mark.parametrize("place", ["breaking.py", "breaking"])
def test_a_file_that_ends_or_breaks_while_it_is_loaded_is_one_sentence(tmp_path: Path, line: str, place: str) -> None:
    (tmp_path / "breaking.py").write_text(f"{line}\n")
    with pytest.raises(UserError, match=f"{place} cannot be imported: it raised") as caught:
        Reference(f"{place}:net").load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["sys:exit", "os:_exit", "os:abort", "shutil:rmtree", "os.path:join", "builtins:quit"])
def test_functions_of_python_itself_are_not_called(text: str) -> None:
    with pytest.raises(UserError, match="is a module of Python itself, which has no models: name your own"):
        Reference(text, {"status": 3}).load()


def test_a_ctrl_c_while_the_code_runs_is_no_fault_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import signal\ndef net(): signal.raise_signal(signal.SIGINT)\n")
    # A process that was started in the background ignores it.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Reference("slow.py:net").load()
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_a_request_to_stop_while_the_code_runs_is_no_fault_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import signal\ndef net(): signal.raise_signal(signal.SIGTERM)\n")
    with pytest.raises(StoppedError), stopped_by_sigterm():
        Reference("slow.py:net").load()


CALLED = """
import sys
from torch import nn

class Base(nn.Module):
    def forward(self, images):
        return images.flatten(1)

class Net(Base):
    def __init__(self):
        super().__init__()
        self.raised = None
        self.layer = nn.Linear(4, 4)

    def forward(self, images):
        print("called")
        import late
        if self.raised is not None:
            raise self.raised
        assert self.__class__ is Net and isinstance(self, Net) and type(self).__name__ == "Net"
        return late.SIGN * super(self.__class__, self).forward(images)
"""


@pytest.fixture
def called(tmp_path: Path) -> torch.nn.Module:
    """A model that prints and imports a neighbour when it is called."""
    (tmp_path / "called.py").write_text(CALLED)
    (tmp_path / "late.py").write_text("SIGN = -1\n")
    return Reference("called.py:Net").load()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, ValueError])
def test_whatever_ends_a_forward_pass_leaves_the_process_as_it_was(
    called: torch.nn.Module, kind: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    stream, path, modules = sys.stdout, list(sys.path), set(sys.modules)
    called.raised = kind()  # type: ignore[assignment]
    with pytest.raises(kind):
        called(torch.ones(2, 1, 2, 2))
    assert (sys.stdout, sys.path) == (stream, path)
    assert not (set(sys.modules) - modules) & {"called", "late"}
    assert capsys.readouterr() == ("", "called\n")
    called.raised = None  # type: ignore[assignment]
    assert called(torch.ones(2, 1, 2, 2)).sum() == -8


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_model_imports_and_prints_as_the_model(
    called: torch.nn.Module, make: Callable[[torch.nn.Module], torch.nn.Module], capsys: pytest.CaptureFixture[str]
) -> None:
    twin = make(called)
    assert called(torch.ones(2, 1, 2, 2)).equal(twin(torch.ones(2, 1, 2, 2)))
    assert capsys.readouterr() == ("", "called\ncalled\n")
    assert (twin.layer.weight is called.layer.weight) == (make is copy.copy)  # type: ignore[union-attr]


def test_a_model_of_installed_code_is_pickled_and_one_of_ones_own_says_why_not(called: torch.nn.Module) -> None:
    installed = Reference("torchvision.models:squeezenet1_0").load()
    twin = pickle.loads(pickle.dumps(installed))  # noqa: S301  (our own)
    images = torch.rand(1, 3, 64, 64)
    assert type(twin) is type(installed).__mro__[1]
    assert twin(images).equal(installed(images))
    with pytest.raises(TypeError, match=r"code is in .* cannot be pickled.*load it .* or save its state_d"):
        pickle.dumps(called)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["exported", "compiled"])
def test_modules_of_torchs_compilers_can_be_copied(endings: str, name: str) -> None:
    model = Reference(f"{endings}:{name}").load()
    images = torch.rand(5, 1, 2, 2)
    assert copy.deepcopy(model)(images).equal(model(images))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["forbids", "exported", "scripted", "compiled"])
def test_modules_of_every_making_are_loaded_for_evaluation(endings: str, name: str) -> None:
    model = Reference(f"{endings}:{name}").load()
    assert not any(module.training for module in model.modules())
    assert model(torch.rand(5, 1, 2, 2)).shape[0] == 5


@pytest.mark.parametrize(
    "text",
    ["..:net", ".own_nets:net", "a b:net", "own_nets.:net", "-:net", "/:net", "a/b:net", "\0:n", "x" * 5000 + ":n"],
)
def test_odd_names_of_modules_are_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as caught:
        Reference(text).load()
    assert "\n" not in str(caught.value)
