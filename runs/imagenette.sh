#!/bin/sh
# The built-in model for ten classes of photos, by the recipe `modern`.
# Run it from the repository's folder, again to go on after a stop. Nearly three hours on two cores (AMD EPYC). The
# model in this release was made by an earlier form of the recipe: `verydeep describe imagenette --json` shows it whole
# (origin), src/verydeep/models/imagenette.md what it reached.
set -eu
out=${1:-../verydeep-runs/imagenette}
if [ -e "$out/recipe.json" ]; then
    exec verydeep train --resume "$out"
fi
exec verydeep train ../shared/data/imagenette-144 --recipe modern --out "$out" \
    --source "imagenette2-160 (github.com/fastai/imagenette), re-encoded with the shorter side at 144 pixels" \
    --licence "ImageNet photos: they belong to their owners; for non-commercial research and education"
