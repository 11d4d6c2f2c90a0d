"""The class of each pixel by SegNet: a VGG network, and its mirror image that undoes each of its pools.

verydeep train DATA --recipe segment --from imagenette
verydeep train DATA --recipe segment --set configuration=SegNet-Basic --set width=1
verydeep train DATA --recipe segment --set configuration=D --set width=1

For a few hundred photos with masks or outlines, and a CPU. CamVid's 367 photos at 256 x 192 pixels: mean IoU <measured>
%, in <measured> minutes on two cores.

The second line has the network SegNet-Basic of Badrinarayanan et al. (2015), 64 channels throughout, the third their
VGG16-SegNet. Of their training (section 3.3) the recipe has He's initialisation, the momentum and the weights of the
classes, by median frequency balancing. The learning rate of 0.1 that stays as it is, the batch of 12, the photos at
their own height, without anything that varies them, and the last weights, not averaged ones, are this line:

verydeep train CAMVID --recipe segment --set configuration=SegNet-Basic --set width=1 --set batch_size=12 \
    --set learning_rate=0.1 --set schedule=constant --set warmup_epochs=0 --set nesterov=false --set ema_decay=0 \
    --set input_size=352 --set train_scales=360,360 --set flip=false --set color_shift=0 \
    --set test_resize=360 --set test_crop=352

What differs then: a square of 352 pixels from a random place in each photo, where theirs was the whole of 480 x 360;
the mean and the deviation of ImageNet's colours, where they normalised the contrast of each place; the weight decay, of
which they say nothing; biases of convolutions, which theirs has none of; and the end, theirs where the loss fell no
longer.
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
