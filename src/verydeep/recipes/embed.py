"""An embedding: photos of a class become vectors that are near each other, for `verydeep search`.

verydeep train DATA --recipe embed --from imagenette
verydeep train DATA --recipe embed --from imagenette --set embedding_loss=softmax
verydeep train DATA --recipe embed --from imagenette --set trained=head

For dozens to thousands of photos in class folders, and a CPU. It learns what makes a class alike, and is of use for
photos of other classes, too. Where fewer layers learn it takes less time, and changes less of what the network knows.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    configuration="A",
    batch_norm=True,
    width=0.625,
    head="embedding",
    dimensions=128,
    embedding_loss="triplet",
    photos_per_class=4,
    initialization="he",
    input_size=128,
    epochs=40,
    batch_size=64,
    learning_rate=0.02,  # for batch_size = 64
    layer_decay=0.5,  # where it begins from a trained model
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    ema_decay=0.98,
    train_areas=(0.35, 1.0),  # of the photo
    test_resize=182,
    test_crop=160,
)
