"""The bytes of a request: gzip within its limits, JSON whatever is in it."""

import gzip
import zlib

import pytest

from server.wire.body import BadBodyError, decode, inflate, node_key_in
from server.wire.limits import ENDPOINTS, MIB, RATIO_FREE, Limit

SMALL = Limit(body=1000, inflated=16 * MIB, ratio=10, reason="for the test")


def test_gzip_round_trip() -> None:
    raw = b'{"node_key": "k"}' * 1000
    assert inflate(gzip.compress(raw), ENDPOINTS["log"]) == raw


def test_a_body_that_inflates_past_the_ratio_is_refused_without_being_held() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = bomb.compress(b"0" * (RATIO_FREE + MIB)) + bomb.flush()
    assert len(packed) < 100_000
    with pytest.raises(BadBodyError, match="inflates past"):
        inflate(packed, SMALL)


def test_small_repetitive_bodies_may_compress_as_well_as_they_like() -> None:
    assert len(inflate(gzip.compress(b"0" * MIB), SMALL)) == MIB


@pytest.mark.parametrize("raw", [b"", b"not gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9], b"\x1f\x8b"])
def test_what_is_not_whole_gzip_is_refused(raw: bytes) -> None:
    with pytest.raises(BadBodyError, match="gzip"):
        inflate(raw, SMALL)


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert decode(b'{"name": "bad-\xff\xfe.txt"}') == {"name": "bad-\ufffd\ufffd.txt"}


def test_exact_decoding_keeps_the_digits_of_integers_beyond_64_bits() -> None:
    assert decode(b'{"big": 123456789012345678901234567890}', exact=True)["big"] == 123456789012345678901234567890


@pytest.mark.parametrize("raw", [b"", b"{", b"[1,]", b"\xef\xbb\xbf{}", b"nope", b'{"a": }'])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadBodyError):
        decode(raw)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(BadBodyError, match=r"nests deeper|not JSON"):
        decode(b"[" * 200_000)


def test_a_node_key_is_found_in_a_broken_body() -> None:
    assert node_key_in(b'{"data":[{"a":"\\"node_key\\":\\"no\\""},{,"node_key":"yes"}') == "yes"
    assert node_key_in(b"{}") == ""
