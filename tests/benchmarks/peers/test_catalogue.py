import json

import pytest

from benchmarks.peers.catalogue import PEERS, chosen
from benchmarks.peers.envoy import envoy_config
from benchmarks.peers.gateway import gateway_command
from benchmarks.peers.haproxy import haproxy_config
from benchmarks.peers.litellm import litellm_config
from benchmarks.peers.nginx import nginx_config
from benchmarks.peers.peer import Place
from benchmarks.simulator.arms import ARMS

UPSTREAMS = ["http://127.0.0.1:9001", "http://127.0.0.1:9002"]


@pytest.fixture
def place(tmp_path):
    return Place(8001, UPSTREAMS, tmp_path, "m")


def names(*wanted):
    return [peer.name for peer in chosen(wanted, "--peers")]


def test_a_family_is_all_its_policies_and_each_comes_once():
    assert names("nginx") == ["nginx/round_robin", "nginx/least_conn", "nginx/hash"]
    assert names("nginx/hash", "direct", "nginx") == [
        "nginx/hash",
        "direct",
        "nginx/round_robin",
        "nginx/least_conn",
    ]


def test_an_unknown_peer_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match=r"--peers: expected some of direct, .* got 'nginx/random'"):
        names("nginx/random")


def test_what_models_a_peer_is_an_arm_of_the_simulator_that_wants_the_same_header():
    for peer in PEERS.values():
        if peer.modelled_by is not None:
            assert ARMS[peer.modelled_by].session_header == (peer.session_header is not None), peer.name


def test_all_listen_on_the_loopback_and_know_every_replica(place):
    texts = {
        "nginx": nginx_config(place),
        "haproxy": haproxy_config(place, "leastconn"),
        "gateway": " ".join(gateway_command(["router"], place, "cache_aware", log_level="warn")),
    }
    for name, text in texts.items():
        assert "0.0.0.0" not in text, name
        assert "127.0.0.1" in text, name
        assert "8001" in text, name
        for url in UPSTREAMS:
            assert url.removeprefix("http://") in text, name


def test_nginx_chooses_by_the_directive_before_the_servers(place):
    text = nginx_config(place, "least_conn")

    assert text.index("least_conn;") < text.index("server 127.0.0.1:9001;")
    assert "listen 127.0.0.1:8001" in text


def test_envoy_has_one_listener_and_hashes_the_header(place):
    config = envoy_config(place, "ring_hash")

    (listener,) = config["static_resources"]["listeners"]
    (cluster,) = config["static_resources"]["clusters"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8001}
    assert cluster["lb_policy"] == "RING_HASH"
    ports = [
        each["endpoint"]["address"]["socket_address"]["port_value"]
        for each in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ]
    assert ports == [9001, 9002]
    assert PEERS["envoy/ring_hash"].session_header in json.dumps(config)


def test_litellm_serves_the_model_from_every_replica(place):
    models = litellm_config(place, "least-busy")["model_list"]

    assert {each["model_name"] for each in models} == {"m"}
    assert [each["litellm_params"]["api_base"] for each in models] == [f"{url}/v1" for url in UPSTREAMS]
