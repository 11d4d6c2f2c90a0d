"""D as in the paper, section 3.1.

verydeep train /data/imagenet --recipe paper

Not run by us on ImageNet: the paper's four GPUs took two to three weeks, to a top-1 error of 25.6 % by its dense
protocol (Table 3, S in [256; 512]). The weights start from Glorot's distribution, which the authors found to need no
pre-training.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    configuration="D",
    batch_norm=False,
    width=1.0,
    head="fc",
    input_size=224,
    initialization="glorot",
    dropout=0.5,
    epochs=74,  # 370,000 steps of 256 photos out of 1,281,167
    batch_size=256,
    learning_rate=1e-2,
    momentum=0.9,
    nesterov=False,
    weight_decay=5e-4,
    schedule="plateau",  # a tenth, where the validation stops improving, three times
    drops=3,
    warmup_epochs=0,
    label_smoothing=0.0,
    ema_decay=0.0,
    train_scales=(256, 512),
    color_shift=0.1,
    test_resize=384,
    test_crop=224,
    pixel_std=(1 / 255, 1 / 255, 1 / 255),  # only the mean is subtracted, from pixels in [0, 255]
    save_as="float32",
)
