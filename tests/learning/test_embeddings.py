import http.server
import json
import threading

import numpy as np
import pytest

from balancer.learning.embeddings import BATCH, embedded, vectors_of
from balancer.learning.rows import BadData


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        status, answer = self.server.answer(body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked = []
    server.answer = lambda body: (200, listed([[len(text), 1.0] for text in body["input"]][::-1]))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/v1/"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def listed(vectors):
    """In reverse, as an answer may be."""
    count = len(vectors)
    return {"data": [{"index": count - 1 - i, "embedding": vector} for i, vector in enumerate(vectors)]}


def test_vectors_come_in_order_and_of_unit_length(endpoint):
    texts = ["x" * (i + 1) for i in range(BATCH + 3)]
    found = embedded(texts, endpoint.url, "e5", "secret")
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert (np.diff(found[:, 0] / found[:, 1]) > 0).all()
    assert [(path, key, len(body["input"])) for path, key, body in endpoint.asked] == [
        ("/v1/embeddings", "Bearer secret", BATCH),
        ("/v1/embeddings", "Bearer secret", 3),
    ]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": "no key"}, 'answered 401: {"error": "no key"}'),
        (200, b"<html>", "answered no JSON"),
        (200, {}, "expected an answer with data"),
        (200, {"data": []}, "expected 1 vectors, given 0"),
        (200, {"data": [{"index": 0, "embedding": ["a"]}]}, "expected vectors of numbers"),
        (200, {"data": [{"index": 0, "embedding": []}]}, "expected vectors of finite numbers"),
    ],
    ids=range(6),
)
def test_what_an_endpoint_may_do_wrong(endpoint, status, answer, said):
    endpoint.answer = lambda _: (status, answer)
    with pytest.raises(BadData, match=said):
        embedded(["x"], endpoint.url, "e5")


def test_nobody_there(endpoint):
    url = endpoint.url
    endpoint.server_close()
    with pytest.raises(BadData, match=r"http://127\.0\.0\.1:"):
        embedded(["x"], url, "e5")


def test_no_address():
    with pytest.raises(BadData, match="--embeddings: expected an http or https address"):
        embedded(["x"], "localhost:8000", "e5")


def test_indices_that_are_missing_are_places():
    assert vectors_of({"data": [{"embedding": [1]}, {"embedding": [2]}]}, 2).tolist() == [[1], [2]]
