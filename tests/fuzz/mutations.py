"""Bytes that were right once: spliced, doubled, cut, flipped, and with what parsers stumble over put in."""

from hypothesis import strategies as st

STUMBLING = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\x00", b":", b" ", b";", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1",
    b"data: ", b"data:", b"data: [DONE]\n\n", b": \n\n", b"event: x\n", b"\xef\xbb\xbf", b"\xff", b"\xe2\x80\xa8",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n",
    b"Connection: Content-Type\r\n", b"Content-Type: text/event-stream\r\n", b"Content-Encoding: gzip\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", b"HTTP/1.0",
    b"HTTP/2.0", b" 000 ", b" 099 ", b" 204 ", b" 304 ", b" 999 ", b'{"error":', b'"abort"', b'"usage":{', b"null", b"1e999",
    b"9" * 40, b"[" * 60, b'{"a":' * 60, b'"', b"\\ud800", b"{}", b"[]",
)  # fmt: skip


def mutated(corpus, most=5):
    """One of the corpus after some mutations; at times of two of them, one behind a part of the other."""
    corpus = sorted(corpus)
    one = st.sampled_from(corpus)
    return st.one_of(one, st.tuples(one, one, st.integers(0, 4000)).map(_spliced)).flatmap(
        lambda raw: st.lists(_mutation, max_size=most).map(lambda mutations: _after(raw, mutations))
    )


_place = st.integers(0, 4000)
_mutation = st.one_of(
    st.tuples(st.just("put"), _place, st.sampled_from(STUMBLING) | st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("over"), _place, st.sampled_from(STUMBLING) | st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("cut"), _place, st.integers(1, 60)),
    st.tuples(st.just("double"), _place, st.integers(1, 200)),
    st.tuples(st.just("end"), _place, st.just(0)),
)


def _spliced(drawn):
    one, other, at = drawn
    at %= len(one) + 1
    return one[:at] + other


def _after(raw, mutations):
    for what, place, more in mutations:
        at = place % (len(raw) + 1)
        if what == "put":
            raw = raw[:at] + more + raw[at:]
        elif what == "over":
            raw = raw[:at] + more + raw[at + len(more) :]
        elif what == "cut":
            raw = raw[:at] + raw[at + more :]
        elif what == "double":
            raw = raw[: at + more] + raw[at:]
        else:
            raw = raw[:at]
    return raw
