"""What the models of a cross-validation said of the photos that each had not seen: the validation of the last one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.evaluate import Report
from verydeep.evaluate.report import Proportion
from verydeep.train.learning_curve import LearningCurve


@dataclass(frozen=True)
class HeldOut:
    """The answers of all folds together. Make one with `pooled`."""

    report: Report  # of all photos, each by the model that was not trained on it; at a temperature of 1
    top1: tuple[Proportion, ...]  # of each fold
    metrics: tuple[Sequence[Mapping[str, float]], ...]  # the rows of each fold's METRICS_FILE
    curve: LearningCurve | None  # of all folds' draws

    def at(self, epoch: int) -> tuple[float, float]:
        """The validation loss and top-1 after an epoch, counted from 1: the means over the folds."""
        rows = [row for rows in self.metrics for row in rows if row["epoch"] == epoch]
        if not rows:  # somebody took the file away
            return self.report.loss, self.report.top1.successes / self.report.n
        loss, top1 = (np.mean([row[name] for row in rows]) for name in ("validation_loss", "validation_top1"))
        return float(loss), float(top1)


def pooled(
    reports: Sequence[Report],
    metrics: Sequence[Sequence[Mapping[str, float]]],
    curves: Sequence[LearningCurve | None],
) -> HeldOut:
    """reports: of each fold's finished model, of the photos that it was not trained on."""
    first = reports[0]
    logits = [report.logits for report in reports if report.logits is not None]
    told = f"{len(reports)} folds, each photo by a model that was not trained on it"
    report = replace(
        first,
        protocol=f"{first.protocol}; {told}",
        paths=tuple(path for report in reports for path in report.paths),
        labels=np.concatenate([report.labels for report in reports]),
        posteriors=np.concatenate([report.posteriors for report in reports]),
        logits=np.concatenate(logits),
        failures=tuple(failure for report in reports for failure in report.failures),
    )
    return HeldOut(report, tuple(report.top1 for report in reports), tuple(metrics), _pooled_curve(curves))


def _pooled_curve(curves: Sequence[LearningCurve | None]) -> LearningCurve | None:
    """All draws of all folds, whose numbers of photos differ by a few."""
    known = [curve for curve in curves if curve is not None]
    if not known:
        return None
    draws = zip(*(curve.top1 for curve in known), strict=True)  # one a share
    top1 = tuple(tuple(value for values in of_folds for value in values) for of_folds in draws)
    return LearningCurve(known[0].photos, top1, sum(curve.n for curve in known))
