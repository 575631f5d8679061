"""Tensors are written whole or not at all, in the layout that they are read back in, without a copy in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from nofrost.models import write_tensors

IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from nofrost.models import write_tensors

size = 2**28
write_tensors(Path(sys.argv[1]).with_name("first"), {"small": torch.ones(1)})  # what is loaded for it is loaded
tensor = torch.ones(size, dtype=torch.uint8)
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size // 2,) * 2)
write_tensors(Path(sys.argv[1]), {"large": tensor})
"""


def test_tensors_of_any_layout_and_kind_come_back(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    tensors = {"images": images, "row": images.detach()[0, :, 1], "count": torch.tensor(7), "none": torch.empty(0, 3)}
    write_tensors(tmp_path / "some.safetensors", tensors)
    loaded = load_file(tmp_path / "some.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype
    assert load((tmp_path / "some.safetensors").read_bytes()).keys() == tensors.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["some.safetensors"]


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    write_tensors(file, {"one": torch.ones(1)})
    shared = torch.ones(4)
    with pytest.raises(RuntimeError):
        write_tensors(file, {"all": shared, "again": shared})
    assert load_file(file)["one"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["some.safetensors"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells how large a process is")
def test_a_training_that_fills_the_memory_can_still_be_saved(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path / "large.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "large.safetensors").stat().st_size > 2**28
