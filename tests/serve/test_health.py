"""What /health says is so: of a model that answers wrongly, of a server that stops, of decoders that are killed."""

import hashlib
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import closing

import pytest
from processes import are_gone, children, zombies
from serving import PATIENCE, Server, becomes, make_photo

PNG = {"content-type": "image/png"}


@pytest.mark.soak(
    "S10",
    goal="ready only once every model has given the reference's answer",
    here="two models, one of them off by a hundredth; asked from the first moment on",
)
@pytest.mark.parametrize("fault", ["", "always ready"])
def test_a_model_that_answers_wrongly_is_never_ready(serve, measured, fault):
    server = serve(until_ready=False, wrong_models=["other"], fault=fault)
    statuses: Counter[int] = Counter()

    def is_told() -> bool:
        statuses.update(server.ask("GET", path).status for path in ("/health/ready", "/v2/health/ready"))
        return "error: model other is not ready" in server.log.read_text()

    assert becomes(is_told)
    assert is_told(), "and it stays so"
    assert (set(statuses) == {503}) == (not fault)
    assert server.ask("GET", "/v2/models/toy/ready").status == 200
    assert server.ask("GET", "/v2/models/other/ready").status == 503
    assert [model["is_ready"] for model in server.ask("GET", "/models").json["models"]] == [True, False]
    measured(asked=statuses.total(), ready=statuses[200])


@pytest.mark.soak(
    "S10",
    goal="not ready within 100 ms of SIGTERM",
    here="20 servers with a request on its way, asked again and again on a connection that was open before",
)
@pytest.mark.parametrize("fault", ["", "ready while it drains"])
def test_it_is_not_ready_as_soon_as_it_is_told_to_stop(serve, photos, amount, measured, fault):
    bound = amount(2.0, 0.1)
    delays = [seconds_until_not_ready(serve(engine_seconds=0.5, fault=fault), photos[0]) for _ in range(amount(1, 20))]
    assert (max(delays) < bound) == (not fault)
    measured(servers=len(delays), longest_ms=f"{1000 * max(delays):.0f}")


def seconds_until_not_ready(server: Server, photo: bytes) -> float:
    """From the signal on; infinity where it never says so."""
    busy = threading.Thread(target=server.ask, args=("POST", "/predict", photo, PNG))
    busy.start()
    assert becomes(lambda: server.metric("verydeep_requests_in_flight") == 2)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:

        def status() -> int:
            connection.request("GET", "/health/ready")
            response = connection.getresponse()
            response.read()
            return response.status

        assert status() == 200
        server.process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        try:
            while status() == 200:
                pass
            found = time.monotonic() - sent
        except (OSError, http.client.HTTPException):  # it is gone
            found = float("inf")
    busy.join(PATIENCE)
    assert server.process.wait(PATIENCE) == 0
    return found


class Asker(threading.Thread):
    """A client that asks until it is told to stop. found: how many photos were answered rightly, told, or wrongly."""

    def __init__(self, server: Server, right: dict[str, dict[str, float]], photos: list[bytes], seed: int) -> None:
        super().__init__()
        self._server, self._right, self._photos = server, right, photos
        self._chance = random.Random(seed)
        self.found: Counter[str] = Counter()
        self.is_over = False

    def run(self) -> None:
        while not self.is_over:
            photos = self._chance.sample(self._photos, self._chance.choice((1, 3)))
            reply = self._server.predict(*photos)
            if reply.status == 503:  # several decoders in a row were killed while they started
                self.found["told"] += 1
                continue
            if reply.status not in (200, 422):
                self.found[f"status {reply.status}"] += 1
                continue
            for photo, answer in zip(photos, reply.json["photos"], strict=True):
                self.found[self._said(photo, answer)] += 1

    def _said(self, photo: bytes, answer: dict) -> str:
        if answer["sha256"] != hashlib.sha256(photo).hexdigest():
            return "swapped"
        if "error" in answer:
            return "told" if "broke its decoder" in answer["error"] else "wrong"
        return "right" if scores(answer) == pytest.approx(self._right[answer["sha256"]], abs=1e-5) else "wrong"


def scores(answer: dict) -> dict[str, float]:
    """The probability of each class."""
    return {score["label"]: score["probability"] for score in answer["predictions"]}


@pytest.mark.soak(
    "S10",
    goal="100 times kill -9: at most its own photo is lost, other answers are right, the process is replaced in 10 s",
    here="100 decoders killed at random moments, four clients asking; no process is left at the end",
)
@pytest.mark.parametrize("fault", ["", "decoders are not replaced"])
def test_a_decoder_that_is_killed_costs_its_own_photo_and_is_replaced(serve, amount, measured, fault):
    server = serve(fault=fault)
    photos = [make_photo(number, side=300) for number in range(12)]
    answers = [server.predict(photo).json["photos"][0] for photo in photos]
    right = {answer["sha256"]: scores(answer) for answer in answers}
    clients = [Asker(server, right, photos, number) for number in range(4)]
    for client in clients:
        client.start()

    def right_answers() -> int:
        return sum(client.found["right"] for client in clients)

    chance, kills, patience = random.Random(0), amount(5, 100), 1.5 if fault else 10.0
    seen, delays, is_replaced = set(), [], True
    for _ in range(kills):
        time.sleep(0.1 * chance.random())
        running = children(server.process.pid)
        seen |= running
        killed = chance.choice(sorted(running))
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        is_replaced &= becomes(lambda known=frozenset(seen): len(children(server.process.pid) - known) == 1, patience)
        delays.append(time.monotonic() - began)
        answered = right_answers() + 4  # of it and the other one
        if not (is_replaced and becomes(lambda wanted=answered: right_answers() >= wanted)):
            break
    assert len(delays) == kills or fault
    for client in clients:
        client.is_over = True
    for client in clients:
        client.join(PATIENCE)
    found = sum((client.found for client in clients), Counter())
    assert is_replaced == (not fault)
    assert set(found) <= {"right", "told"}
    if not fault:
        assert found["told"] <= kills
        assert len(children(server.process.pid)) == 2
        assert not zombies(server.process.pid)
        assert [server.predict(photo).json["photos"][0] for photo in photos] == answers, "alone, as before"
    seen |= children(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    assert are_gone(seen)
    told = {name: found[name] for name in ("right", "told")}
    measured(kills=len(delays), longest_replacement_s=f"{max(delays):.2f}", **told)


def test_the_decoders_of_a_server_that_is_killed_end_by_themselves(serve):
    server = serve()
    decoders = children(server.process.pid)
    assert len(decoders) == 2
    server.process.kill()
    server.process.wait()
    assert becomes(lambda: are_gone(decoders))
