"""The class of each pixel by SegNet: a VGG network, and its mirror image that undoes each of its pools.

verydeep train DATA --recipe segment --from imagenette
verydeep train DATA --recipe segment --set configuration=SegNet-Basic
verydeep train DATA --recipe segment --set configuration=D --set width=1

For a few hundred photos with masks or outlines, and a CPU. VGG16-SegNet as published (Badrinarayanan et al. 2015) is
the last line; so are the weights of the classes, by median frequency balancing, and the learning rate of 0.1.
CamVid's 367 photos at half their size: mean IoU <measured> %, in <measured> minutes on two cores.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    configuration="A",
    batch_norm=True,
    width=0.5,
    head="segnet",
    input_size=160,
    initialization="he",
    epochs=60,
    batch_size=8,
    learning_rate=0.05,  # for batch_size = 8
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0.0,
    class_weights="balanced",
    ema_decay=0.99,
    train_scales=(160, 224),  # pixels, around test_resize; crops of 160
    color_shift=0.1,
    test_resize=192,  # six strides: a photo of 4 : 3 has no border
    test_crop=160,
)
