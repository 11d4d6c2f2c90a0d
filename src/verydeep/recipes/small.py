"""A at a quarter of the width, for pictures of 32 pixels: to see a training from beginning to end in a minute.

verydeep train DATA --recipe small
"""

from dataclasses import replace

from verydeep.recipes.modern import RECIPE as MODERN

RECIPE = replace(
    MODERN,
    width=0.25,
    input_size=32,
    epochs=5,
    train_areas=None,
    train_scales=(32, 38),
    flip=False,  # digits and letters are not their mirror images
    cutmix=0.0,
    ema_decay=0.95,
    test_resize=32,
    test_crop=32,
)
