"""MNIST and Fashion-MNIST by name: IDX files with the checksums of the published ones."""

import gzip
from pathlib import Path
from typing import IO, cast

from nofrost.data.dataset_card import PublishedFile
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import SourceData, explain_damage, register
from nofrost.prepare.sources.checksums import check_file, check_stream, not_published
from nofrost.prepare.sources.idx import idx_part
from nofrost.prepare.sources.published_source import Published


@register("mnist")
class Mnist(Published):
    """The folder `path` with MNIST's four files, gzipped or not: 60,000 and 10,000 grey images of 28 pixels."""

    def open(self) -> SourceData:
        """Return the images, read row by row.

        Raises:
            UserError: a file is missing, damaged, or is not the published one (by its MD5).
        """
        self.fetch()
        path = Path(self.path)
        checksums: dict[str, str] = {}
        found = []
        for file in self.files():
            place, checksum = self._find(path, file)
            found.append(place)
            checksums |= checksum
        train_images, train_labels, test_images, test_labels = found
        train = idx_part(train_images, train_labels, self.card.classes, self.image_size)
        test = idx_part(test_images, test_labels, self.card.classes, self.image_size)
        return self.data(train, test, checksums)

    def _find(self, path: Path, file: PublishedFile) -> tuple[Path, dict[str, str]]:
        """Return where the file is, gzipped or not, and its checksum: that of the unpacked file if it is known."""
        packed, unpacked = path / file.name, path / file.name.removesuffix(".gz")
        if unpacked.is_file():
            if file.members:
                return unpacked, check_file(unpacked, file.members[0], file)
            if not packed.is_file():
                raise not_published(unpacked, file)
        if not regular_file(packed).is_file():
            raise UserError(
                f"dataset.path {path} holds no {file.name}: {self.card.title} is four files, with it "
                f"{', '.join(each.name for each in self.files() if each != file)}; add it, or set dataset.download"
            )
        if not file.members:
            return packed, check_file(packed, file)
        with explain_damage(packed, "not gzip", f"download {file.name} again"), gzip.open(packed) as stream:
            return packed, check_stream(cast(IO[bytes], stream), packed, file.members[0], file)


@register("fashion-mnist")
class FashionMnist(Mnist):
    """The folder `path` with Fashion-MNIST's four files, gzipped as they are published."""
