"""Train every recipe in FOLDER/recipes to FOLDER/two/NAME: python recipes_of_folder.py FOLDER DATASET"""

from __future__ import annotations

import sys
from pathlib import Path

from nofrost.cli import cli
from nofrost.train.stage import process_group


def main(folder: Path, dataset: Path) -> None:
    with process_group():
        for path in sorted((folder / "recipes").glob("*.yaml")):
            cli(
                ["train", f"--recipe={path}", f"--dataset={dataset}", f"--out={folder / 'two' / path.stem}"],
                standalone_mode=False,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
