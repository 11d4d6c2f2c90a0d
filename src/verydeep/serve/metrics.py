"""What a server counts, for Prometheus. Labels come from fixed lists, so no request can add one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Of one server, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("verydeep_requests", "Requests answered.", ("route", "status"), registry=self._registry)
        self.seconds = Histogram(
            "verydeep_request_seconds",
            "From the header to the answer's end.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "verydeep_requests_in_flight", "Requests that are not answered yet.", registry=self._registry
        )
        self.photos = Counter(
            "verydeep_photos", "Photos decoded, or not.", ("model", "result"), registry=self._registry
        )
        self.batches = Histogram(
            "verydeep_batch_images",
            "Images of a batch.",
            ("model",),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self.engine_seconds = Counter(
            "verydeep_engine_seconds", "Time that the engine computed.", ("model",), registry=self._registry
        )

    def count_batch(self, model: str, images: int, seconds: float) -> None:
        self.batches.labels(model).observe(images)
        self.engine_seconds.labels(model).inc(seconds)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)
