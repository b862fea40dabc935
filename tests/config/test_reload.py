import os

import pytest

from balancer.config import ConfigError, Settings, load
from balancer.config.reload import Watched, files, taken_over
from balancer.config.report import digest
from balancer.config.schema import HELD

REPLICAS = ["http://a"]


def settled(watched):
    """Whether a change is seen, once whoever writes has ended."""
    assert watched.changed() is False
    return watched.changed()


def test_a_change_is_told_once_and_not_before_it_has_settled(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a")
    watched = Watched([file])
    assert watched.changed() is False
    file.write_text("half")
    assert (watched.changed(), watched.settling) == (False, True)
    file.write_text("half and half")
    assert (watched.changed(), watched.settling) == (False, True)
    assert (watched.changed(), watched.settling) == (True, False)
    assert watched.changed() is False


def test_what_is_only_touched_has_not_changed(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a")
    watched = Watched([file])
    os.utime(file, (1, 1))
    assert settled(watched) is False


def test_a_change_that_keeps_size_and_name_is_seen(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a")
    watched = Watched([file])
    (tmp_path / "new").write_text("b")
    (tmp_path / "new").replace(file)
    assert settled(watched) is True


def test_a_config_map_changes_by_a_symbolic_link(tmp_path):
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "x.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("1")
    file = tmp_path / "x.yaml"
    file.symlink_to("..data/x.yaml")
    watched = Watched([file])
    (tmp_path / "..tmp").symlink_to("2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    assert settled(watched) is True
    assert settled(watched) is False


def test_a_file_that_goes_and_comes_changes_twice(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a")
    watched = Watched([file])
    file.unlink()
    assert settled(watched) is True
    assert settled(watched) is False
    file.write_text("a")
    assert settled(watched) is True


def test_the_sources_are_read_again_and_flags_still_go_before_the_file(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("replicas: [http://a]\nport: 1\nmax_attempts: 1\n")
    loaded = load({"port": "9"}, {}, file)
    file.write_text("replicas: [http://b]\nport: 2\nmax_attempts: 2\n")
    again = loaded.again()
    assert (again.settings.port, again.settings.max_attempts) == (9, 2)
    assert again.settings.replicas[0].url == "http://b:80"
    assert again.again().settings == again.settings
    assert files(again) == (file,)


def test_what_holds_until_the_end_is_kept_and_named():
    old = Settings(replicas=REPLICAS, port=1, policy="random", max_attempts=1)
    new = Settings(replicas=["http://b"], port=2, policy="random", max_attempts=2, admin_port=3)
    kept, waiting = taken_over(old, new)
    assert set(waiting) == {"port", "admin_port"}
    assert (kept.port, kept.admin_port, kept.max_attempts) == (1, None, 2)
    assert kept.replicas == new.replicas


def test_what_is_held():
    assert set(HELD) == {
        "host", "port", "ssl_certfile", "ssl_keyfile", "prometheus_port", "prometheus_host", "event_loop",
        "reuse_port", "policy", "index_max_blocks", "admin_port", "admin_host", "outcome_log",
        "receipts", "journal", "journal_max_bytes", "journal_keep",
        "otlp_traces_endpoint", "trace_sample",
    }  # fmt: skip


def test_the_digest_is_of_the_settings_and_of_no_secret():
    plain = Settings(replicas=REPLICAS)
    assert digest(plain) == digest(Settings(replicas="http://a:80/"))
    assert digest(plain) != digest(Settings(replicas=REPLICAS, port=1))
    assert digest(Settings(replicas=REPLICAS, api_keys=["a"])) == digest(
        Settings(replicas=REPLICAS, api_keys=["b"])
    )


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        (
            {"admin_host": "0.0.0.0"},
            "admin_api_key: expected a key, since admin_host is not a loopback address",
        ),
        (
            {"admin_host": "gpu-a"},
            "admin_api_key: expected a key, since admin_host is not a loopback address",
        ),
        ({"port": "9"}, "admin_port: expected another port than `port`, which is 9"),
        ({"prometheus_port": "9"}, "admin_port: expected another port than `prometheus_port`, which is 9"),
        ({"admin_host": "0.0.0.0", "admin_api_key": "k"}, None),
        ({"admin_host": "::1"}, None),
        ({"admin_host": "localhost"}, None),
    ],
)
def test_the_admin_api_is_not_open_to_the_world_by_mistake(given, mistake):
    flags = {"replicas": REPLICAS, "admin_port": "9", **given}
    if mistake is None:
        load(flags, {})
        return
    with pytest.raises(ConfigError) as caught:
        load(flags, {})
    assert mistake in str(caught.value)
