"""(Engine, photos, protocol) -> Report: accuracy with its interval and its terms. Needs no torch."""

from verydeep.evaluate.calibration import calibrate
from verydeep.evaluate.protocols import PROTOCOLS, evaluate, evaluate_fused
from verydeep.evaluate.report import Report

__all__ = ["PROTOCOLS", "Report", "calibrate", "evaluate", "evaluate_fused"]
