"""A at five eighths of the width with batch norm, for a collection of photos and a CPU.

verydeep train DATA --recipe modern

Imagenette's 9,469 photos take <measured> minutes on two cores (AMD EPYC, bfloat16), to a top-1 of <measured> %.

Pictures of 128 pixels in training and 160 in prediction: a random crop magnifies what it shows, so that the network
meets objects of the same size in both (Touvron et al. 2019). What each ingredient is worth is in docs/log.md, and
runs/ablations.sh measures it.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    configuration="A",
    batch_norm=True,
    width=0.625,
    head="gap",
    initialization="identity",
    whiten=True,
    input_size=128,
    epochs=60,
    batch_size=64,
    learning_rate=0.05,  # for batch_size = 64
    muon_factor=0.4,
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0.1,
    ema_decay=0.998,
    train_areas=(0.35, 1.0),  # of the photo
    cutmix=0.4,  # of the batches
    test_resize=182,
    test_crop=160,
)
