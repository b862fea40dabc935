"""Dynamo itself needs an installation: `benchmarks peers --check dynamo`. Here is what it is given."""

import http.client
import json
import os
import socket
import sys

import pytest

from balancer.embedded.words import WORDS
from benchmarks.peers.dynamo_model import tokenizer_of, write_model
from benchmarks.peers.enclosed import enclosing, require
from benchmarks.peers.peer import UnavailableError
from benchmarks.processes import NotServingError, free_ports, started, wait_listening

PAGE = b"from inside"


def merged(text, merges):
    """Byte-pair encoding: the merge that was learned first goes first."""
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    tokens = list(text)
    while True:
        pairs = [pair for pair in zip(tokens, tokens[1:], strict=False) if pair in ranks]
        if not pairs:
            return tokens
        left, right = min(pairs, key=ranks.__getitem__)
        at = next(i for i in range(len(tokens)) if tokens[i : i + 2] == [left, right])
        tokens[at : at + 2] = [left + right]


def test_each_word_with_its_blank_is_one_token():
    model = tokenizer_of(WORDS)["model"]

    assert sorted(model["vocab"].values()) == list(range(len(model["vocab"])))
    for word in WORDS:
        (token,) = merged("Ġ" + word, model["merges"])
        assert token in model["vocab"]


def test_a_model_says_the_size_of_its_vocabulary(tmp_path):
    folder = write_model(tmp_path / "model", 4096)

    config, tokenizer = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "tokenizer")
    )
    assert config["vocab_size"] == len(tokenizer["model"]["vocab"])
    for added in tokenizer["added_tokens"]:
        assert tokenizer["model"]["vocab"][added["content"]] == added["id"]


@pytest.fixture
def own_network():
    try:
        require()
    except UnavailableError as error:
        pytest.skip(str(error))  # what only root may have, or a kernel without it


def program(port, folder):
    (folder / "page").write_bytes(PAGE)
    return [sys.executable, "-m", "http.server", str(port), "--directory", str(folder)]


def enclosed(commands, ports, folder):
    command = enclosing(*ports, commands, folder / "programs.jsonl")
    return started(command, cores=frozenset(os.sched_getaffinity(0)), log=folder / "log")


def reaches(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/page")
        return connection.getresponse().read() == PAGE
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_what_listens_on_every_address_is_reached_through_its_port_alone(tmp_path, own_network):
    outer, inner = free_ports(2)
    with enclosed([program(inner, tmp_path)], (outer, inner), tmp_path) as child:
        wait_listening(child, outer)
        while not reaches(outer):
            child.expect_running("before it answered")
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", inner)):
            pass
    assert not reaches(outer)


def test_one_program_that_ends_ends_all(tmp_path, own_network):
    outer, inner = free_ports(2)
    commands = [program(inner, tmp_path), [sys.executable, "-c", "raise SystemExit('enough')"]]
    with (
        enclosed(commands, (outer, inner), tmp_path) as child,
        pytest.raises(NotServingError, match="enough"),
    ):
        while True:
            child.expect_running("as it should")
