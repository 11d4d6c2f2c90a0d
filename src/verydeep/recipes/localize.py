"""The class of a photo and its box, as in the paper's appendix A, but in one network: fc8 gives both.

verydeep train DATA --recipe localize --from imagenette
verydeep train DATA --recipe localize --from imagenette --set boxes=class
verydeep train DATA --recipe localize --from RUN --set box_loss=euclidean --set box_weight=25 --set learns_classes=false

For a few hundred photos with a box each, and a CPU. The head is the paper's, since fc6 sees where in the last map
something is; the gap head averages that away. Photos are squashed to squares, for a thing may lie anywhere in them:
the central crop of one of 4 x 3 shows three quarters of it. The last line is the paper's: from a classifier with the
head fc, boxes alone, by their Euclidean distance. What each choice is worth: benchmarks/results/localization.csv.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    configuration="A",
    batch_norm=True,
    width=0.5,
    head="fc",
    boxes="single",
    input_size=160,
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
    train_areas=(0.3, 1.0),  # of the photo
    color_shift=0.1,
    fit="squash",  # the whole photo; the IoU of two boxes is the same in any proportions
    test_resize=160,  # pixels: the size that the built-in classifier is asked at
    test_crop=160,
)
