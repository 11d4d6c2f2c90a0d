#!/bin/sh
# The built-in model: A at half the width with batch norm, ten classes of photos.
# Takes two hours on two cores that do nothing else. Run it from the repository's folder, again to go on after a stop.
# What it reached: src/verydeep/models/imagenette.md, and the rows of benchmarks/results/accuracy.csv.
set -eu
out=${1:-../verydeep-runs/imagenette}
if [ -e "$out/recipe.json" ]; then
    exec verydeep train --resume "$out"
fi
exec verydeep train ../shared/data/imagenette-144 --recipe modern --out "$out" \
    --source "imagenette2-160 (github.com/fastai/imagenette), re-encoded with the shorter side at 144 pixels" \
    --licence "ImageNet photos: they belong to their owners; for non-commercial research and education"
