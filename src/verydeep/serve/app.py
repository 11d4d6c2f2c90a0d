"""The routes: what a request asks, and its answer. Who may ask, and how much, is `guard`'s.

POST /predict              photos as the body, in a form, or in JSON as base64; one or many
POST /explain, /activations  why, of one photo or beside another, and what a layer sees: `views`, as is the page at /
GET  /models               what is served
GET  /health/live, ready   for a supervisor
GET  /metrics              for Prometheus
/v2/...                    the Open Inference Protocol: `open_inference`
GET  /openapi.json         all of these, for programs
"""

import asyncio
import functools
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import verydeep
from verydeep.errors import ImageError, VerydeepError
from verydeep.explain import METHODS
from verydeep.explain.backward import BOX_EDGES
from verydeep.serve import open_inference, views
from verydeep.serve.batching import Overloaded
from verydeep.serve.bodies import Photo, in_openapi, photos_of
from verydeep.serve.decoding import Decoders, Picture
from verydeep.serve.guard import Refused
from verydeep.serve.limits import Limits
from verydeep.serve.metrics import CONTENT_TYPE, Metrics
from verydeep.serve.models import NOISE, ServedModel
from verydeep.serve.segments import segmented

T = TypeVar("T")
MOST_SCORES = 1000  # of a photo
_CHECK_AGAIN_SECONDS = 1.0


@dataclass
class Service:
    """All that the routes share."""

    models: Mapping[str, ServedModel]
    limits: Limits
    metrics: Metrics
    log: Callable[[str], None]
    decoders: Decoders
    precision: str = "float32"
    is_draining: bool = False

    def __post_init__(self) -> None:
        self._slow = ThreadPoolExecutor(1, "explain")
        self._slow_work = 0

    @property
    def is_ready(self) -> bool:
        return not self.is_draining and all(model.is_ready for model in self.models.values())

    def check_room(self, name: str | None) -> None:
        """Raises Refused where the model of that name has no room for one more image."""
        try:
            self.model(name).batcher.check(1)
        except Overloaded as error:
            raise Refused(503, str(error), retry_after=error.seconds) from error

    def model(self, name: str | None) -> ServedModel:
        """The model of that name; the first where none is named. Raises Refused."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refused(404, "there is no such model.", f"There are {', '.join(self.models)}: see /models.")
        return self.models[name]

    async def answers(self, model: ServedModel, photos: Sequence[Photo], k: int) -> list[dict[str, Any]]:
        """For each photo its classes, its vector or its mask, or why not. Raises Overloaded and VerydeepError."""
        with model.batcher.room(len(photos)):
            return await together(self._answer(model, photo, k) for photo in photos)

    async def pictures(self, model: ServedModel, photos: Sequence[Photo]) -> "list[Picture | ImageError]":
        """What the network gets of each photo, or the ImageError."""
        return await together(self._picture(model, photo) for photo in photos)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Among the requests that take all cores for a while, for their whole stay. Raises Overloaded at once."""
        if self._slow_work == self.limits.explanations:
            raise Overloaded(1)
        self._slow_work += 1
        try:
            yield
        finally:
            self._slow_work -= 1

    async def in_turn(self, work: Callable[..., T], *arguments: Any) -> T:
        """Such work, in a thread of its own, one after the other.

        What has begun goes on to its end, also where the client has gone; what waits does not begin then.
        """
        return await asyncio.get_running_loop().run_in_executor(self._slow, work, *arguments)

    async def close(self) -> None:
        """Ends what runs for it; work that has begun is not waited for."""
        self._slow.shutdown(wait=False, cancel_futures=True)
        await self.decoders.close()
        for model in self.models.values():
            await model.batcher.close()

    async def _answer(self, model: ServedModel, photo: Photo, k: int) -> dict[str, Any]:
        digest = hashlib.sha256(photo.data).hexdigest()
        picture = await self._picture(model, photo)
        if isinstance(picture, ImageError):
            return {"sha256": digest, "error": picture.message, "hint": picture.hint}
        if model.tells_pixels:
            (logits,) = await model.logits([model.inputs(picture.pixels)])
            return {"sha256": digest, **await asyncio.to_thread(segmented, logits, model.opened.info)}
        (found,) = await model.answers([model.inputs(picture.pixels)])
        if model.embeds:
            return {"sha256": digest, "embedding": found.tolist()}
        prediction = model.prediction(found, picture.size, k)
        scores = [score.to_dict() for score in prediction.scores]
        return {"sha256": digest, "predictions": scores, "is_known": prediction.is_known}

    async def _picture(self, model: ServedModel, photo: Photo) -> Picture | ImageError:
        try:
            preprocessing = model.opened.info.preprocessing
            decode = self.decoders.decode
            picture = await decode(photo.data, photo.name, preprocessing, is_dense=model.tells_pixels)
        except ImageError as error:
            self.metrics.photos.labels(model.name, "unreadable").inc()
            return error
        self.metrics.photos.labels(model.name, "decoded").inc()
        return picture


def make_app(service: Service) -> FastAPI:
    """The app of a service, which ends with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        checking = asyncio.create_task(_check_models(service))
        try:
            yield
        finally:
            checking.cancel()
            await service.close()

    app = FastAPI(
        title="verydeep",
        version=verydeep.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would repeat what the client wrote
    )
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Overloaded, _overloaded)
    app.add_exception_handler(VerydeepError, _failed)
    _add_routes(app, service)
    open_inference.add_routes(app, service)
    views.add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/predict", openapi_extra=in_openapi(photo="one of the photos, whatever each is called"))
    async def predict(request: Request, model: str | None = None, top: int = 5) -> Response:
        """Classify, embed or segment photos: a body image/*, a form with files, or JSON {"images": [base64, ...]}."""
        if not 1 <= top <= MOST_SCORES:
            raise Refused(422, f"top is {top}; expected 1 to {MOST_SCORES}.", "How many classes to tell.")
        chosen = service.model(model)
        photos = await photos_of(request, service.limits)
        answers = await service.answers(chosen, photos, top)
        body = {"model": chosen.name, "photos": answers}
        if not all("error" in one for one in answers):
            return answer(body)
        return answer({"error": answers[0]["error"], "hint": answers[0]["hint"], **body}, 422)

    @app.get("/models")
    async def models() -> dict[str, Any]:
        """The models that are served, the default one first."""
        described = [_described(model, service.precision) for model in service.models.values()]
        return {"models": described, "methods": {name: method.title for name, method in METHODS.items()}}

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @app.get("/health/ready")
    async def ready(response: Response) -> dict[str, bool]:
        """Every model has given the right answer once, and the server is not being stopped; else 503."""
        response.status_code = 200 if service.is_ready else 503
        return {"ready": service.is_ready}

    @app.get("/openapi.json", include_in_schema=False)
    async def described() -> Response:
        return Response(description(), media_type="application/json")

    @functools.cache
    def description() -> str:
        return json.dumps(app.openapi())

    @app.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _described(model: ServedModel, precision: str) -> dict[str, Any]:
    info = model.opened.info
    return {
        "name": model.name,
        "task": info.architecture.task,
        "architecture": info.architecture.to_dict(),
        "classes": list(info.classes),
        "methods": views.methods_of(model),
        "edges": list(BOX_EDGES) if info.architecture.task == "localize" else [],
        "layers_with_map": views.layers_with_map(info.architecture),
        "preprocessing": info.preprocessing.to_dict(),
        "calibration": info.calibration.to_dict(),
        "engine": model.opened.engine_name,
        "precision": precision,
        "is_ready": model.is_ready,
    }


async def _check_models(service: Service) -> None:
    """One after the other, beside the first requests. A model that answers wrongly never gets ready, and says so."""
    for model in service.models.values():
        while not model.is_ready:
            try:
                photo = Photo(NOISE, "the photo of the check")
                (picture,) = await service.pictures(model, [photo])
                if isinstance(picture, ImageError):
                    raise picture
                await service.in_turn(model.check_golden, service.precision)
                model.is_ready = True
            except Refused as refused:  # no decoder just now: that passes
                service.log(f"model {model.name} is not ready yet: {refused}")
                await asyncio.sleep(_CHECK_AGAIN_SECONDS)
            except Exception as error:  # whatever it was: it is not ready
                service.log(f"error: model {model.name} is not ready: {error or type(error).__name__}")
                break


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in their order. Where one raises, the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def answer(body: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: what a client sent may hold halves of letters that no encoding has."""
    return Response(json.dumps(body), status_code, headers, "application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer(error.body, error.status, error.headers)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer({"error": f"{str(error.detail).lower()}.", "hint": "See /openapi.json."}, error.status_code)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(str(one["loc"][-1]) for one in error.errors())
    return answer({"error": f"{names}: not what is expected.", "hint": "See /openapi.json."}, 422)


async def _overloaded(request: Request, error: Exception) -> Response:
    assert isinstance(error, Overloaded)
    return answer({"error": str(error)}, 503, {"retry-after": str(error.seconds)})


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, VerydeepError)
    return answer({"error": error.message, "hint": error.hint}, 500)
