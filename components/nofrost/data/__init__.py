"""Datasets and augmentation sets on disk and in memory."""

from nofrost.data.augmentation_set import (
    AugmentationManifest,
    augmentation_checksum,
    read_augmentation_set,
    write_augmentation_manifest,
)
from nofrost.data.manifest import (
    SPLITS,
    Manifest,
    ShardManifest,
    SplitManifest,
    TestSetManifest,
    checksum,
    read_manifest,
    split_condition,
    write_manifest,
)
from nofrost.data.photographs import Images, Photographs
from nofrost.data.split import Split, from_tensor, read_split, to_tensor, write_images, write_split

__all__ = [
    "SPLITS",
    "AugmentationManifest",
    "Images",
    "Manifest",
    "Photographs",
    "ShardManifest",
    "Split",
    "SplitManifest",
    "TestSetManifest",
    "augmentation_checksum",
    "checksum",
    "from_tensor",
    "read_augmentation_set",
    "read_manifest",
    "read_split",
    "split_condition",
    "to_tensor",
    "write_augmentation_manifest",
    "write_images",
    "write_manifest",
    "write_split",
]
