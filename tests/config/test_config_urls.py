"""Replica URLs: one normal form, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.urls import normal


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://gpu", "http://gpu:80"),
        ("https://gpu", "https://gpu:443"),
        ("HTTP://GPU:8000/", "http://gpu:8000"),
        ("http://gpu/a/", "http://gpu:80/a"),
        ("http://vllm_1:8000", "http://vllm_1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0::1]", "http://[::1]:80"),
        (" http://10.0.0.1:8000 ", "http://10.0.0.1:8000"),
    ],
)
def test_normal_form(url, expected):
    assert normal(url) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gpu:8000", "begins with http"),
        ("ftp://gpu", "begins with http"),
        ("http:gpu", "begins with http"),
        ("http://", "with a host"),
        ("http://:8000", "with a host"),
        ("http:///path", "with a host"),
        ("http://gpu:0", "port from 1 to 65535"),
        ("http://gpu:65536", "port from 1 to 65535"),
        ("http://gpu:x", "port from 1 to 65535"),
        ("http://gpu?x", "without query"),
        ("http://gpu#", "without query and fragment"),
        ("http://user@gpu", "without credentials"),
        ("http://a b", "valid host"),
        ("http://a,http://b", "valid host"),
        ("http://[::g]", "valid"),
        ("http://[::1", "valid"),
        ("http://gpu/a b", "path"),
    ],
)
def test_refused(url, said):
    with pytest.raises(ValueError, match=said):
        normal(url)


@given(st.one_of(st.text(), st.text().map("http://{}".format), st.from_regex(r"https?://[a-z:\[\]/.0-9]*")))
def test_normal_forms_stay_as_they_are(url):
    try:
        once = normal(url)
    except ValueError as error:
        assert str(error).startswith("a URL ")
    else:
        assert normal(once) == once
