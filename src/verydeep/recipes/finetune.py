"""From a trained model: its network and its preprocessing, with a new head where the classes are others.

verydeep train DATA --from imagenette
verydeep train DATA --from imagenette --set trained=last-block
verydeep train DATA --from imagenette --set trained=all

Only the head learns, from features that the frozen layers make of eight pictures of each photo, once: <measured> for
244 photos on two cores (AMD EPYC), to a top-1 of <measured> %. What the network's fields are set to here counts
nothing: the model decides.
"""

from verydeep.train.recipe import Recipe

RECIPE = Recipe(
    trained="head",
    views=8,
    initialization="paper",  # of the new layers: small, so that the first answers are near to "any class"
    epochs=60,
    batch_size=32,
    learning_rate=0.05,  # for batch_size = 32
    layer_decay=0.5,  # counts where more than the head learns
    weight_decay=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    label_smoothing=0.1,
    ema_decay=0.98,
    train_areas=(0.35, 1.0),  # of the photo
)
