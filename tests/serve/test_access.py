"""Who may ask the service, and that a model's name is a key and never a path."""

from urllib.parse import quote

import pytest

PNG = {"content-type": "image/png"}


HOSTS = ["example.com", "example.com:80", "127.0.0.1.example.com", "localhost.example.com", "", "[::2]", "127.1"]


@pytest.mark.parametrize("host", HOSTS)
def test_another_hosts_name_is_refused(server, photos, host):
    assert server.ask("GET", "/models", headers={"host": host}).status == 421
    assert server.ask("POST", "/predict", photos[0], PNG | {"host": host}).status == 421


def test_the_own_names_are_taken_with_any_port(server):
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1:80", f"127.0.0.1:{server.port}"):
        assert server.ask("GET", "/models", headers={"host": host}).status == 200, host


def test_pages_of_other_origins_may_not_post(server, photos):
    own = f"http://127.0.0.1:{server.port}"
    assert server.ask("POST", "/predict", photos[0], PNG | {"origin": own}).status == 200
    others = ["http://example.com", "null", f"{own}.example.com", "http://127.0.0.1:1"]
    for origin in [*others, f"http://localhost:{server.port}"]:
        assert server.ask("POST", "/predict", photos[0], PNG | {"origin": origin}).status == 403, origin
    reply = server.ask("OPTIONS", "/predict", headers={"origin": "http://example.com"})
    assert "access-control-allow-origin" not in reply.headers


def test_a_token_is_asked_for_everywhere_but_by_health(serve, photos):
    server = serve(token="secret")  # noqa: S106, of a test
    right = {"authorization": "Bearer secret"}
    assert server.ask("POST", "/predict", photos[0], PNG | right).status == 200
    wrong = ("Bearer secre", "Bearer secretx", "Bearer SECRET", "Basic secret", "secret")
    for given in ({}, *({"authorization": text} for text in wrong), {"token": "secret"}):
        for path in ("/models", "/metrics", "/openapi.json", "/v2", "/networks", "/networks/D"):
            assert server.ask("GET", path, headers=given).status == 401, (given, path)
        assert server.ask("POST", "/predict", photos[0], PNG | given).status == 401
    for path in ("/", "/page/app.js", "/docs", "/network/D"):
        assert server.ask("GET", path).status == 200, "the page's files hold no secret"
    assert server.ask("GET", "/health/live").status == 200
    assert server.ask("GET", "/v2/health/ready").status == 200


NAMES = ["..", "../toy", "%2e%2e", "..%2ftoy", "%2e%2e%2ftoy", "toy%00", "TOY", "C:\\toy", "\\\\host\\toy", "/etc/x"]


@pytest.mark.parametrize("name", [*NAMES, "%c0%ae%c0%ae", "toy.safetensors", "./toy", "toy/", "~", "a" * 10_000, "💥"])
def test_a_models_name_is_looked_up_and_is_never_a_path(server, photos, name):
    quoted = quote(name, safe="%")
    assert server.ask("POST", f"/predict?model={quoted}", photos[0], PNG).status == 404
    assert server.ask("GET", f"/v2/models/{quoted}/ready").status in (404, 405)
    assert server.ask("GET", "/health/ready").status == 200


def test_every_answer_forbids_what_a_browser_could_do_with_it(server):
    for method, path in (("GET", "/models"), ("GET", "/nothing"), ("POST", "/predict")):
        headers = server.ask(method, path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_a_request_id_is_echoed_where_it_is_harmless(server):
    assert server.ask("GET", "/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "é", "x" * 65, "<script>"):
        reply = server.ask("GET", "/models", headers={"x-request-id": bad.encode().decode("latin-1")})
        assert len(reply.headers["x-request-id"]) == 32


def test_the_log_names_no_photo_and_nothing_that_a_client_wrote(server, photos):
    server.ask("POST", "/predict?model=my-secret-name", photos[0], PNG)
    server.ask("GET", "/my-secret-path")
    log = server.log.read_text()
    assert "/predict 404" in log
    assert "secret" not in log
