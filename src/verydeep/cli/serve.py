"""`verydeep serve`: models over HTTP, on this machine."""

import gc
import ipaddress
import os
import sys
from typing import TYPE_CHECKING

import click

from verydeep.cli.options import EngineOptions, single_photo_options
from verydeep.errors import MissingExtraError, UsageError, printable

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from verydeep.serve.guard import Access
    from verydeep.serve.limits import Limits

_NEEDS = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@click.command(
    epilog="Example: `verydeep serve`, then `curl --data-binary @cat.jpg -H 'content-type: image/jpeg' "
    "http://127.0.0.1:8000/predict`."
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="[NAME=]MODEL",
    help="To serve; several times.  [the built-in one]",
)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen.  [127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, metavar="N", help="0: a free one.  [8000]")
@click.option("--allow-host", multiple=True, metavar="NAME", help="By which it is called, too: a proxy's.")
@click.option(
    "--selftest", is_flag=True, help="Start a server, ask it, misuse it, stop it; exit code 1 where it fails."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, metavar="N", help="Photos at once.  [16]")
@single_photo_options
def serve(
    *,
    models: tuple[str, ...],
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    selftest: bool,
    batch_size: int,
    **options: "Unpack[EngineOptions]",
) -> int:
    """Answer over HTTP what is on photos.

    It listens on this machine alone. Elsewhere it needs a token in the variable VERYDEEP_TOKEN, which every request has
    to send. Ctrl-C once: what has been asked is answered; twice: at once.
    """
    access = _access(host, allow_host)
    _check_installed()
    if selftest:
        return _selftest(models, options, batch_size)
    gc.disable()  # what is loaded makes a million objects and no garbage: looking for it takes a twelfth of the start
    import asyncio
    from dataclasses import replace

    from verydeep.serve.limits import Limits

    asyncio.run(_serve(models, access, replace(Limits(), largest_batch=batch_size), host, port, options))
    sys.stderr.flush()
    os._exit(0)  # an explanation whose client has gone may still compute; nobody waits for it


async def _serve(
    models: tuple[str, ...], access: "Access", limits: "Limits", host: str, port: int, options: EngineOptions
) -> None:
    """The decoders start first, so that they load what they need while this process does."""
    from verydeep.serve.decoding import Decoders

    decoders = Decoders(limits)
    await decoders.start()
    try:
        from verydeep.serve.app import Service
        from verydeep.serve.metrics import Metrics
        from verydeep.serve.models import open_models
        from verydeep.serve.server import listen
        from verydeep.serve.server import serve as run

        listener = listen(host, port)  # before the models are opened: they take longer
        metrics = Metrics()
        opened = open_models(models, limits, metrics.count_batch, **options)
        precision = options["precision"]
        service = Service(opened, limits, metrics, _log, decoders, precision)
        address = f"[{host}]" if ":" in host else host
        names = ", ".join(f"{name} ({model.opened.engine_name}, {precision})" for name, model in opened.items())
        where = f"http://{address}:{listener.getsockname()[1]}"
        gc.freeze()
        gc.enable()
        await run(service, access, listener, f"serving {names} at {where} - Ctrl-C stops it")
    finally:
        await decoders.close()


def _access(host: str, allowed: tuple[str, ...]) -> "Access":
    """Raises UsageError where the server would listen to others without a token."""
    from verydeep.serve.guard import TOKEN, Access

    token = os.environ.get(TOKEN, "")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise UsageError(
            f"--host is {host!r}; expected the address of this machine.", "127.0.0.1, ::1, 0.0.0.0"
        ) from error
    if not is_loopback and not token:
        raise UsageError(
            f"to listen on {host}, where others can ask, a token is needed.",
            f"Set the variable {TOKEN} to a long secret, or leave --host out.",
        )
    own = f"[{host}]" if ":" in host else host
    return Access({*_LOOPBACK, own.lower(), *(name.lower() for name in allowed)}, token)


def _check_installed() -> None:
    import importlib.util

    if missing := [name for name in _NEEDS if importlib.util.find_spec(name) is None]:
        raise MissingExtraError(f"serving needs {missing[0]}, which is not installed.", "pip install 'verydeep[serve]'")


def _selftest(models: tuple[str, ...], options: EngineOptions, batch_size: int) -> int:
    from verydeep.serve.models import named
    from verydeep.serve.selftest import expected_of, selftest

    given = {name: value for name, value in options.items() if value is not None} | {"batch-size": batch_size}
    arguments = [*(f"--model={model}" for model in models), *(f"--{name}={value}" for name, value in given.items())]
    expected = expected_of(named(models[0])[1] if models else None, options)
    is_passed = True
    for check in selftest(arguments, expected):
        is_passed &= check.is_passed
        click.echo(f"{'passed' if check.is_passed else 'FAILED'}  {check.name}  ({printable(check.found)})")
    return 0 if is_passed else 1


def _log(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)
