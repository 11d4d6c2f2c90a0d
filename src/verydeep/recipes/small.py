"""B at half the width with batch norm, for pictures of 32 pixels such as CIFAR-10's.

verydeep train DATA --recipe small

B, not A: in pictures this small the first pool comes too early after a single convolution.
"""

from dataclasses import replace

from verydeep.recipes.modern import RECIPE as MODERN

RECIPE = replace(
    MODERN,
    configuration="B",
    input_size=32,
    epochs=30,
    batch_size=128,
    learning_rate=0.1,  # for batch_size = 128
    train_areas=None,
    train_scales=(32, 40),
    cutmix=0.0,  # the network is too small to learn from pictures that are so varied in so few epochs
    test_resize=32,
    test_crop=32,
)
