"""The development kit of ILSVRC 2012, which says the class of each validation image."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import explain_damage
from nofrost.prepare.sources.checksums import check_file

DEVKIT = "ILSVRC2012_devkit_t12"
_FILES = ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")  # in the folder data
_LARGEST = 1 << 28  # bytes, unpacked
_REMEDY = "download the development kit again"


def ground_truth(root: Path) -> list[str]:
    """Return the WordNet id of each validation image in the order of their names.

    Args:
        root: the folder that the kit, or its archive, lies in.

    Raises:
        UserError: there is none, or it is damaged or not the published one.
    """
    meta, truth = (_contents(root)[name] for name in _FILES)
    place = root / DEVKIT
    with explain_damage(place, "not the published kit", _REMEDY):
        # slow to import; it reads numbers and texts, and runs nothing
        from scipy.io import loadmat

        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        # the others are groups of classes
        classes = {int(each["ILSVRC2012_ID"]): str(each["WNID"]) for each in synsets if not each["num_children"]}
        numbers = np.array(truth.split(), dtype=np.int64).tolist()
        return [classes[number] for number in numbers]


def _contents(root: Path) -> dict[str, bytes]:
    folder, archive = root / DEVKIT / "data", root / f"{DEVKIT}.tar.gz"
    if folder.is_dir():
        files = [folder / name for name in _FILES]
        for file in files:
            if not regular_file(file).is_file():
                raise UserError(f"{file} is missing: {_REMEDY}")
        with explain_damage(folder, "not the published kit", _REMEDY):
            return {file.name: file.read_bytes() for file in files}
    if not regular_file(archive).is_file():
        raise UserError(
            f"{root} holds validation images without class folders, and neither {DEVKIT} nor {archive.name}, which "
            "say their classes: add one of them"
        )
    check_file(archive, load_card("imagenet").file(archive.name))
    with explain_damage(archive, "not the published archive", _REMEDY):
        with gzip.open(archive) as unpacked:
            content = unpacked.read(_LARGEST)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            contents = {}
            for member in tar:
                name = member.name.rpartition("/")[2]
                if name in _FILES and member.isfile():
                    contents[name] = tar.extractfile(member).read()  # type: ignore[union-attr]
    if absent := set(_FILES) - set(contents):
        raise UserError(f"{archive} lacks {sorted(absent)[0]}: {_REMEDY}")
    return contents
