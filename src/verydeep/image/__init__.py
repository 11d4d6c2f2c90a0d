"""Bytes -> array: `read_image` and `decode`, then `preprocess`. And back: `annotate` draws a prediction. No torch."""

from verydeep.image.decode import ALL_FORMATS, PHOTO_FORMATS, Limits, decode, read_image
from verydeep.image.draw import annotate, contact_sheet
from verydeep.image.preprocess import crop_box, denormalize, fill_colour, fit, normalize, preprocess

__all__ = [
    "ALL_FORMATS",
    "PHOTO_FORMATS",
    "Limits",
    "annotate",
    "contact_sheet",
    "crop_box",
    "decode",
    "denormalize",
    "fill_colour",
    "fit",
    "normalize",
    "preprocess",
    "read_image",
]
