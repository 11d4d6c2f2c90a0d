"""The class of a photo and its box, as in the paper's appendix A, but in one network: fc8 gives both.

verydeep train DATA --recipe localize --from imagenette
verydeep train DATA --recipe localize --from imagenette --set boxes=class
verydeep train DATA --recipe localize --from RUN --set box_loss=euclidean --set learns_classes=false

For a few hundred photos with a box each, and a CPU. The head is the paper's, since fc6 sees where in the last map
something is; the gap head averages that away. The last line is the paper's: from a classifier, boxes alone, by
their Euclidean distance. What each choice is worth: benchmarks/results/localization.csv.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    configuration="A",
    batch_norm=True,
    width=0.5,
    head="fc",
    boxes="single",
    input_size=128,
    initialization="he",
    epochs=60,
    batch_size=32,
    learning_rate=0.001,  # for batch_size = 32; ten times that throws thousands of units behind a box out of its range
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=2,
    dropout=0.0,  # units left out at random make an answer larger or smaller: classes bear that, edges do not
    label_smoothing=0.1,
    box_loss="l1",
    box_weight=5.0,
    ema_decay=0.98,
    train_areas=(0.5, 1.0),  # of the photo
    test_resize=128,  # pixels: nearly all of the photo is seen, for a box may lie anywhere in it
    test_crop=128,
)
