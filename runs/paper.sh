#!/bin/sh
# The recipe of the paper on photos that a laptop can learn: B without batch norm, a quarter of its width, 96 pixels.
# The scales of training and testing are the paper's in proportion to 224 pixels. 34 minutes on two cores (AMD EPYC,
# bfloat16), top-1 of the 400 validation photos 73.2 %: benchmarks/results/training.csv.
# Run it from the repository's folder, again to go on after a stop.
set -eu
out=${1:-../verydeep-runs/paper}
if [ -e "$out/recipe.json" ]; then
    exec verydeep train --resume "$out"
fi
exec verydeep train ../shared/data/imagenette-144 --recipe paper --out "$out" \
    --set configuration=B --set width=0.25 --set input_size=96 --set train_scales=110,220 \
    --set test_resize=165 --set test_crop=96 --set batch_size=64 --set epochs=60
