from hypothesis import given
from hypothesis import strategies as st

from balancer.forwarding.headers import request_head, response_head

HOP = ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Connection"]
TOKEN = st.text("abcdefghijklmnop-ABC", min_size=1, max_size=12)
ODD_CASE = st.sampled_from([str.upper, str.lower, str.title])
FIELDS = st.lists(
    st.tuples(
        st.one_of(
            TOKEN.map(lambda name: f"X-{name}"), st.sampled_from([*HOP, "Host", "Content-Length", "Expect"])
        ),
        ODD_CASE,
        TOKEN,
    ).map(lambda drawn: (drawn[1](drawn[0]).encode(), drawn[2].encode())),
    max_size=12,
)


def request(headers, **more):
    return fields(request_head(b"POST", b"/v1/x?y=1", b"replica:8000", headers, 7, **more))


def fields(head):
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert head.endswith(b"\r\n\r\n")
    return [tuple(line.split(b": ", 1)) for line in lines[1:]]


def names(found):
    return [name.lower() for name, _ in found]


@given(FIELDS)
def test_a_request_has_one_host_and_one_framing(headers):
    sent = request(headers)
    assert names(sent).count(b"host") == 1
    assert (b"Host", b"replica:8000") in sent
    assert [pair for pair in sent if pair[0].lower() == b"content-length"] == [(b"Content-Length", b"7")]
    assert not {name.lower().encode() for name in HOP} & set(names(sent))
    assert b"expect" not in names(sent)


@given(FIELDS)
def test_what_is_nobodys_business_passes_in_its_order_and_spelling(headers):
    named = {value.lower() for name, value in headers if name.lower() == b"connection"}
    passing = [(n, v) for n, v in headers if n[:2].lower() == b"x-" and n.lower() not in named]
    assert [pair for pair in request(headers) if pair[0][:2].lower() == b"x-"] == passing
    answered = fields(response_head(200, b"OK", headers, [b"Content-Length: 3\r\n"]))
    assert [pair for pair in answered if pair[0][:2].lower() == b"x-"] == passing
    assert names(answered).count(b"content-length") == 1
    assert not {name.lower().encode() for name in HOP} & set(names(answered))


def test_fields_that_connection_names_stop_here():
    headers = [
        (b"Connection", b"close, X-Private ,x-other"),
        (b"X-Private", b"1"),
        (b"x-Other", b"2"),
        (b"X-A", b"3"),
    ]
    assert names(request(headers)) == [b"host", b"x-a", b"content-length"]
    assert names(fields(response_head(200, b"OK", headers, []))) == [b"x-a"]


def test_the_replicas_key_takes_the_place_of_the_callers():
    headers = [(b"AUTHORIZATION", b"Bearer client"), (b"X-Api-Key", b"client")]
    sent = request(headers, authorization=b"Bearer replica", drop=frozenset({b"x-api-key"}))
    assert [pair for pair in sent if b"auth" in pair[0].lower()] == [(b"Authorization", b"Bearer replica")]
    assert b"x-api-key" not in names(sent)
    assert request(headers)[1:3] == headers


def test_fields_that_are_sent_twice_are_sent_twice():
    headers = [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-Empty", b"")]
    assert request(headers)[1:4] == headers


def test_first_lines():
    assert request_head(b"GET", b"/a", b"h", [], None) == b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    assert response_head(299, b"", [], []) == b"HTTP/1.1 299 \r\n\r\n"
