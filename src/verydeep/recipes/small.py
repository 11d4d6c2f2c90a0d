"""B at half the width with batch norm, for pictures of 32 pixels such as CIFAR-10's.

verydeep train DATA --recipe small

B, not A: in pictures this small the first pool comes too early after a single convolution.
"""

from dataclasses import replace

from verydeep.recipes.modern import RECIPE as MODERN

RECIPE = replace(
    MODERN,
    configuration="B",
    first_size=32,
    input_size=64,
    epochs=30,
    batch_size=128,
    learning_rate=0.1,  # for batch_size = 128
    train_areas=None,
    train_scales=(64, 80),
    cutmix=0.25,
    test_resize=64,
    test_crop=64,
)
