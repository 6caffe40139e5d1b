"""The choice of a stream: never black."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.live.choice import Choice, Offered, Path, Refusal, choose, codec_of, parse_can

H264, H265, B_FRAMES, UNKNOWN = Offered("h264", False), Offered("h265", False), Offered("h264", True), Offered()
ONLY_264 = frozenset({"h264"})
BOTH = frozenset({"h264", "h265"})


def pick(wanted: str, main: Offered, sub: Offered | None, **more: object) -> Choice | Refusal:
    streams = {"main": main} | ({"sub": sub} if sub else {})
    options: dict[str, object] = {"max_stream": None, "can": ONLY_264, "transport": "mse", "transcoder": True}
    return choose(wanted, streams, **(options | more))  # type: ignore[arg-type]  # a table of keywords


def summary(choice: Choice | Refusal) -> tuple[str, str] | str:
    return choice.reason.code if isinstance(choice, Refusal) else (choice.stream, choice.path.value)


def test_the_asked_stream_passes_when_the_viewer_decodes_it() -> None:
    assert pick("main", H264, H264) == Choice("main", Path.PASS)
    assert pick("sub", H264, H264) == Choice("sub", Path.PASS)
    assert pick("main", H265, H264, can=BOTH) == Choice("main", Path.PASS)
    assert pick("main", UNKNOWN, H264) == Choice("main", Path.PASS)


def test_a_permission_for_the_small_picture_gets_the_small_picture_and_is_told() -> None:
    choice = pick("main", H264, H264, max_stream="sub")
    assert summary(choice) == ("sub", "pass")
    assert isinstance(choice, Choice)
    assert choice.note is not None
    assert choice.note.code == "media.live_only_sub"
    assert summary(pick("main", H264, None, max_stream="sub")) == "media.live_no_stream"


def test_h265_falls_to_the_sub_stream_then_to_the_transcoder_then_to_a_sentence() -> None:
    assert summary(pick("main", H265, H264)) == ("sub", "pass")
    assert summary(pick("main", H265, H265)) == ("main", "transcode")
    assert summary(pick("main", H265, None)) == ("main", "transcode")
    assert summary(pick("main", H265, None, transcoder=False)) == "media.live_codec"
    assert summary(pick("sub", H264, H265)) == ("main", "pass")
    assert summary(pick("sub", H264, H265, max_stream="sub")) == ("sub", "transcode")


def test_whep_takes_h264_without_b_frames_only() -> None:
    assert summary(pick("main", H264, None, transport="whep")) == ("main", "pass")
    assert summary(pick("main", B_FRAMES, None, transport="whep")) == "media.live_whep_b_frames"
    assert summary(pick("main", B_FRAMES, H264, transport="whep")) == ("sub", "pass")
    assert summary(pick("main", H265, None, transport="whep")) == "media.live_whep_codec"
    assert summary(pick("main", B_FRAMES, None)) == ("main", "pass")


def test_words_of_a_client_are_understood() -> None:
    assert parse_can("h264, HEVC", "mse") == BOTH
    assert parse_can(None, "mse") == ONLY_264
    assert parse_can(None, "file") == BOTH
    assert parse_can("h265", "whep") == ONLY_264
    assert parse_can("vp9", "mse") == frozenset()
    assert summary(pick("main", H264, H264, can=frozenset())) == "media.live_decodes_nothing"
    assert (codec_of("avc1.640028"), codec_of("hvc1.1.6.L93.B0"), codec_of("mjpeg"), codec_of(None)) == (
        "h264", "h265", None, None,
    )  # fmt: skip


OFFERS = st.builds(Offered, st.sampled_from(["h264", "h265", None]), st.sampled_from([True, False, None]))


@given(
    wanted=st.sampled_from(["main", "sub"]),
    streams=st.dictionaries(st.sampled_from(["main", "sub"]), OFFERS),
    max_stream=st.sampled_from([None, "main", "sub"]),
    can=st.frozensets(st.sampled_from(["h264", "h265"])),
    transport=st.sampled_from(["mse", "file", "whep"]),
    transcoder=st.booleans(),
)
def test_nobody_is_sent_what_he_may_not_see_or_cannot_decode(  # type: ignore[no-untyped-def]  # hypothesis fills them in
    wanted, streams, max_stream, can, transport, transcoder
) -> None:
    choice = choose(wanted, streams, max_stream=max_stream, can=can, transport=transport, transcoder=transcoder)
    if isinstance(choice, Refusal):
        return
    assert choice.stream in streams
    assert not (max_stream == "sub" and choice.stream == "main")
    codec = streams[choice.stream].codec
    if choice.path is Path.TRANSCODE:
        assert "h264" in can
        assert transport != "whep"
    else:
        assert codec is None or codec in can
        assert not (transport == "whep" and codec is not None and streams[choice.stream].b_frames)
    if choice.stream != wanted:
        assert choice.note is not None
