"""How answers are read: of a replica of our own, of a provider, and where another tier stands behind."""

import pytest

from balancer.forwarding.manners import OWN, manners
from balancer.vllm_api.errors import is_too_long

PROVIDER = manners(external=True, too_long=False, kept=False)


def test_our_own_replica_answers_for_the_clients_faults():
    assert OWN.retryable == {429, 500, 502, 503, 504}
    assert OWN.busy == {429, 503}
    assert manners(external=False, too_long=False, kept=False) == OWN


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 429, 500, 503, 520, 529])
def test_what_a_provider_holds_against_us_is_no_fault_of_the_clients(status):
    assert status in PROVIDER.retryable


@pytest.mark.parametrize("status", [200, 400, 413, 422])
def test_what_it_holds_against_the_request_is(status):
    assert status not in PROVIDER.retryable


@pytest.mark.parametrize(
    "body",
    [
        b"This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        b"The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        b'{"error": {"message": "Too many tokens", "code": "context_length_exceeded"}}',
        b"prompt is too long: 210000 tokens > 200000 maximum",
        b"the request exceeds the available context size",
        b"The input token count (2000000) exceeds the maximum number of tokens allowed",
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_many_words(body):
    assert is_too_long(body)
    assert OWN.finds_too_long(400, body)
    assert not OWN.finds_too_long(500, body)


@pytest.mark.parametrize("body", [b"", b"temperature must be non-negative", b"Unknown parameter: context"])
def test_other_faults_are_not(body):
    assert not is_too_long(body)
