"""Measured speed and memory beside the predicted, and beside the engines that people use."""
