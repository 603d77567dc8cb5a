"""Clean text, typed values, names, and bags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.normalize.names import parse_scheduled_name, scheduled_name
from server.normalize.rows import Column, bag_of, fingerprint, typed_row
from server.normalize.text import clean_text, unescape_differential
from server.normalize.times import iso, unix
from server.normalize.values import MisfitError, fit

COLUMNS = (Column("n", "n", "bigint"), Column("t", "t", "text"), Column("v", "v", "bigint", volatile=True))


@given(st.text())
def test_clean_text_is_always_storable(text: str) -> None:
    clean = clean_text(text)
    clean.encode("utf-8")
    assert "\x00" not in clean
    assert clean_text(clean) == clean


def test_padding_goes_and_other_nuls_are_marked() -> None:
    assert clean_text("AMD EPYC\x00\x00\x00") == "AMD EPYC"
    assert clean_text("a\x00b\ud800c") == "a\ufffdb\ufffdc"


def test_one_value_is_the_same_in_snapshot_and_differential() -> None:
    in_snapshot = b"bad-\xff\xfe\x0a.txt".decode("utf-8", "replace")
    assert unescape_differential(r"bad-\xFF\xFE\x0A.txt") == in_snapshot
    assert unescape_differential(r"caf\xC3\xA9") == "café"
    assert unescape_differential(r"C:\xampp\x41") == r"C:\xampp\x41"


def test_windows_paths_are_left_alone() -> None:
    for path in (r"C:\Windows\WinSxS\x86_microsoft", r"C:\SDK\bin\x86\rc.exe", r"C:\SDK\x87", r"D:\x10\x0A"):
        assert unescape_differential(path, windows=True) == path
    assert unescape_differential(r"caf\xC3\xA9", windows=True) == "café"


@pytest.mark.parametrize(
    ("value", "kind", "typed"),
    [
        ("42", "bigint", 42),
        (" -7 ", "bigint", -7),
        ("", "bigint", None),
        (None, "bigint", None),
        (True, "bigint", 1),
        (3.0, "bigint", 3),
        ("9223372036854775807", "bigint", 2**63 - 1),
        ("1.5", "double", 1.5),
        ("1e3", "double", 1000.0),
        ("", "double", None),
        (7, "text", "7"),
        ("", "text", ""),
        (None, "text", None),
        (9007199254740993, "bigint", 9007199254740993),
    ],
)
def test_what_fits(value: object, kind: str, typed: object) -> None:
    assert fit(value, kind) == typed


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("abc", "bigint"),
        ("1.5", "bigint"),
        ("9223372036854775808", "bigint"),
        (2**64, "bigint"),
        ("٣", "bigint"),
        ("1_000", "bigint"),
        ("0x10", "bigint"),
        (1.5, "bigint"),
        ("nan", "double"),
        ("inf", "double"),
        ("1e999", "double"),
        (float("nan"), "double"),
        (10**400, "double"),
    ],
)
def test_what_does_not_fit_is_said_not_guessed(value: object, kind: str) -> None:
    with pytest.raises(MisfitError):
        fit(value, kind)


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), st.sampled_from(["bigint", "double"])
)
def test_fit_is_total(value: object, kind: str) -> None:
    try:
        typed = fit(value, kind)
    except MisfitError:
        return
    assert typed is None or -(2**63) <= typed < 2**63 or isinstance(typed, float)  # type: ignore[operator]


def test_a_misfit_is_null_and_kept() -> None:
    row = typed_row({"n": "many", "t": "x"}, COLUMNS)
    assert row.values == (None, "x", None)
    assert row.misfit == '{"n":"many"}'


def test_numbers_and_their_texts_are_one_row() -> None:
    assert typed_row({"n": 5, "t": "x"}, COLUMNS).digest == typed_row({"n": "5", "t": "x"}, COLUMNS).digest


def test_volatile_and_absent_columns_are_no_part_of_the_identity() -> None:
    plain = typed_row({"n": "5", "t": "x"}, COLUMNS[:2]).digest
    assert typed_row({"n": "5", "t": "x", "v": "9"}, COLUMNS).digest == plain
    assert typed_row({"n": "", "t": "x"}, COLUMNS).digest != plain


def test_equal_rows_are_numbered() -> None:
    row = typed_row({"n": "1"}, COLUMNS)
    assert [ordinal for _, ordinal in bag_of([row, row, row])] == [0, 1, 2]


def test_fingerprints_take_anything_json_has() -> None:
    assert fingerprint([{"a": 2**70}]) != fingerprint([{"a": "\ud800"}])


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("pack/inventory/users@0123456789", ("users", "0123456789")),
        (scheduled_name("users", "abcdef0123"), ("users", "abcdef0123")),
        ("users", ("users", None)),
        ("users@home", ("users@home", None)),
        ("pack/linux_pack/mounts", ("linux_pack/mounts", None)),
        ("pack_it_mounts", ("it_mounts", None)),
        ("package", ("package", None)),
    ],
)
def test_scheduled_names(name: str, parsed: tuple[str, str | None]) -> None:
    assert tuple(parse_scheduled_name(name)) == parsed


@given(st.integers(0, 4_000_000_000))
def test_text_order_is_time_order(seconds: int) -> None:
    assert unix(iso(seconds)) == seconds
    assert iso(seconds) < iso(seconds + 1)
