from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.spool.frames import HEADER, encode, end_of_frames, frame_follows, read_frames

payloads = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


def write(path: Path, data: bytes, *, zeros: int = 4096) -> Path:
    path.write_bytes(data + bytes(zeros))
    return path


@given(wanted=payloads, zeros=st.integers(0, 64), limit=st.integers(0, 14))
@settings(max_examples=60)
def test_what_was_written_is_read_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[bytes], zeros: int, limit: int
) -> None:
    path = write(tmp_path_factory.mktemp("s") / "a.seg", b"".join(map(encode, wanted)), zeros=zeros)
    found: list[bytes] = []
    frames = read_frames(path, 0, limit=limit)
    found += frames.payloads
    assert len(found) <= limit
    assert frames.more == (limit <= len(wanted))
    found += read_frames(path, frames.offset).payloads
    assert found == wanted


@given(wanted=payloads, zeros=st.integers(0, 64), start=st.integers(0, 12))
@settings(max_examples=60)
def test_the_end_is_found_by_the_lengths_alone(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[bytes], zeros: int, start: int
) -> None:
    frames = [encode(payload) for payload in wanted]
    path = write(tmp_path_factory.mktemp("s") / "a.seg", b"".join(frames), zeros=zeros)
    offset = sum(map(len, frames[:start]))
    assert end_of_frames(path, offset) == sum(map(len, frames))


def test_a_frame_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    whole = encode(b"whole")
    torn = HEADER.pack(10_000, 1) + b"begins"
    assert end_of_frames(write(tmp_path / "a.seg", whole + torn), 0) == len(whole)


@given(wanted=payloads, cut=st.integers(min_value=0))
@settings(max_examples=60)
def test_a_cut_gives_a_prefix_and_is_no_damage(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[bytes], cut: int
) -> None:
    data = b"".join(map(encode, wanted))
    path = write(tmp_path_factory.mktemp("s") / "a.seg", data[: cut % (len(data) + 1)], zeros=0)
    frames = read_frames(path, 0)
    assert frames.payloads == wanted[: len(frames.payloads)]
    assert not frame_follows(path, frames.offset)


@given(wanted=st.lists(st.binary(min_size=1, max_size=300), min_size=2, max_size=8), data=st.data())
@settings(max_examples=60)
def test_a_flipped_bit_before_a_valid_frame_is_damage(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[bytes], data: st.DataObject
) -> None:
    frames = [encode(payload) for payload in wanted]
    at = data.draw(st.integers(0, len(b"".join(frames[:-1])) - 1))
    raw = bytearray(b"".join(frames))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    path = write(tmp_path_factory.mktemp("s") / "a.seg", bytes(raw))
    read = read_frames(path, 0)
    assert read.payloads == wanted[: len(read.payloads)]
    assert len(read.payloads) < len(wanted)
    assert frame_follows(path, read.offset)


def test_a_hole_of_zeros_before_a_valid_frame_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.seg", encode(b"one") + bytes(4096) + encode(b"two"))
    read = read_frames(path, 0)
    assert read.payloads == [b"one"]
    assert frame_follows(path, read.offset)


def test_a_frame_larger_than_a_read_is_whole(tmp_path: Path) -> None:
    big = os.urandom(3 << 20)
    path = write(tmp_path / "a.seg", encode(b"x") + encode(big) + encode(b"y"))
    assert read_frames(path, 0).payloads == [b"x", big, b"y"]


def test_a_read_is_bounded_by_bytes_too(tmp_path: Path) -> None:
    wanted = [bytes([n]) * 1000 for n in range(1, 11)]
    path = write(tmp_path / "a.seg", b"".join(map(encode, wanted)))
    frames = read_frames(path, 0, max_bytes=2500)
    assert (frames.payloads, frames.more) == (wanted[:3], True)
    frames = read_frames(path, frames.offset, max_bytes=1)
    assert (frames.payloads, frames.more) == (wanted[3:4], True)
    frames = read_frames(path, frames.offset, max_bytes=100_000)
    assert (frames.payloads, frames.more) == (wanted[4:], False)
    assert read_frames(path, 0, max_bytes=0).more


def test_a_torn_tail_of_a_big_file_is_told_from_damage(tmp_path: Path) -> None:
    # above 16 MB the high byte of a length need not be zero
    torn = encode(b"some words " * (2 << 20))[: 17 << 20]
    path = write(tmp_path / "a.seg", torn, zeros=0)
    assert not frame_follows(path, 0)
    path.write_bytes(torn + encode(b"later"))
    assert frame_follows(path, 0)


def test_the_search_gives_up_on_the_safe_side(tmp_path: Path) -> None:
    # many headers that claim much make the search expensive: then it says damage
    header = HEADER.pack(4_000_000, 1)
    path = write(tmp_path / "a.seg", header * 20_000, zeros=5_000_000)
    assert frame_follows(path, 0)


def test_the_format_is_fixed() -> None:
    # segments of an older version must stay readable
    assert encode(b"abc") == b"\x03\0\0\0" + zlib.crc32(b"abc").to_bytes(4, "little") + b"abc"
