"""B at half the width with batch norm, for pictures of 32 pixels such as CIFAR-10's.

verydeep train DATA --recipe small

The pictures are enlarged to 64 pixels, at last: at 32 the last maps have a single pixel, and a fourth of the parameters
learns more at 64 pixels than all of them at 32 (docs/log.md). B, not A: two convolutions come before the first pool.
"""

from dataclasses import replace

from verydeep.recipes.modern import RECIPE as MODERN

RECIPE = replace(
    MODERN,
    configuration="B",
    width=0.5,
    initialization="he",
    whiten=False,
    first_size=32,
    input_size=64,
    epochs=30,
    batch_size=128,
    learning_rate=0.1,  # for batch_size = 128
    muon_factor=0.3,
    train_areas=None,
    train_scales=(64, 80),
    cutmix=0.25,  # of the batches
    test_resize=64,
    test_crop=64,
)
