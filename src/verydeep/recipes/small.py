"""A at half the width with batch norm, for pictures of 32 pixels such as CIFAR-10's.

verydeep train DATA --recipe small
"""

from dataclasses import replace

from verydeep.recipes.modern import RECIPE as MODERN

RECIPE = replace(
    MODERN,
    input_size=32,
    epochs=20,
    batch_size=128,
    learning_rate=0.1,  # for batch_size = 128
    train_areas=None,
    train_scales=(32, 40),
    cutmix=0.25,
    test_resize=32,
    test_crop=32,
)
