"""verydeep: the VGG networks as one system. Start with `verydeep --help`, or read architecture.py."""

__version__ = "0.1.0"
