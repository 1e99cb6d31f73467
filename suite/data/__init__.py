"""Data sets by name, as tensors: no data loader stands in the training loop; and their parts, drawn for every seed."""

from suite.data.digits import digits
from suite.data.image_set import PUBLISHED, ImageSet, Published
from suite.data.lookup import load_images
from suite.data.splits import split_digits, split_images, training_size, wrong_labels

__all__ = [
    "PUBLISHED",
    "ImageSet",
    "Published",
    "digits",
    "load_images",
    "split_digits",
    "split_images",
    "training_size",
    "wrong_labels",
]
