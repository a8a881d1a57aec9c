"""A visible mark: in every frame of a render, in a corner, and nothing else of the picture changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.errors import OptionError
from udh_core.face.crop import FEATHER, CropSpec, mask_in_frame
from udh_core.media import lettering
from udh_core.media.colours import BT709, Colours
from udh_core.media.planes import split
from udh_core.media.video import read_frames, read_planes
from udh_core.rendering.mark import Mark, free_corner, mark_of
from udh_core.rendering.mouths import paste_mouths
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render
from udh_core.rendering.stream import SpeechStream

FRAMES = 6
SPEC = CropSpec(96)
PLAIN = RenderOptions(crf=0, when_audio_longer="loop")
MARKED = RenderOptions(crf=0, when_audio_longer="loop", mark="AI-generated")


@pytest.fixture(scope="module")
def short(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from udh_core.media.audio import load_waveform, write_wave

    path = tmp_path_factory.mktemp("sound") / "short.wav"
    write_wave(path, load_waveform(speech, duration_s=FRAMES / 25))
    return path


@pytest.fixture(scope="module")
def avatar(person_avatar: Path) -> Avatar:
    return open_avatar(person_avatar)


@pytest.fixture(scope="module")
def mark(avatar: Avatar) -> Mark:
    found = mark_of(avatar, MARKED)
    assert found is not None
    return found


def beside(mark: Mark, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: all but the box of the mark."""
    kept = np.ones(shape, bool)
    kept[mark.part] = False
    return kept


# What it looks like


def grey(level: int, colours: Colours | None) -> np.ndarray:
    """A frame of 320×200 px of one grey, 0..255, in RGB or in planes."""
    if colours is None:
        return np.full((200, 320, 3), level, np.uint8)
    planes = np.empty((300, 320), np.uint8 if colours.bits == 8 else np.uint16)
    for plane, value in zip(split(planes), colours.from_rgb() @ (level, level, level, 1), strict=True):
        plane[:] = round(float(value))
    return planes


def box_in_white(mark: Mark, frame: np.ndarray, colours: Colours | None) -> np.ndarray:
    """(h, w) 0..1 of the mark's box: how bright, from black to white."""
    if colours is None:
        return frame[mark.part].mean(-1) / 255
    black, white = ((colours.from_rgb() @ (level, level, level, 1))[0] for level in (0, 255))
    return (split(frame)[0][mark.part] - black) / (white - black)


SEEN = {  # the colours of frames, and how bright white letters are in them
    "rgb": (None, 1.0),
    "bt709": (BT709, 1.0),
    "bt601 of full range": (Colours(6, True, 6, 6), 1.0),
    "10 bits": (Colours(1, False, 1, 1, 10), 1.0),
    "PQ": (Colours(9, False, 9, 16, 10), 0.58),
    "HLG": (Colours(9, False, 9, 18, 10), 0.75),
}


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_letters_are_white_on_a_darker_plate(mark: Mark, name: str, level: int) -> None:
    colours, bright = SEEN[name]
    here = Mark((slice(100, 100 + mark.keep.shape[0]), slice(40, 40 + mark.keep.shape[1])), mark.keep, mark.white)
    frame = grey(level, colours)
    untouched, marked = frame.copy(), here.on(frame, colours)
    assert np.array_equal(frame, untouched)  # it may be shown again
    seen = box_in_white(here, marked, colours)
    assert np.abs(seen[mark.white == 1] - bright).max() < 0.01 and (mark.white == 1).sum() > 20
    assert np.abs(seen[mark.white == 0] - level / 510).max() < 0.01
    outside, luma, was = beside(here, (200, 320)), marked[:200], frame[:200]
    assert np.array_equal(luma[outside], was[outside])
    if colours is not None:
        assert all(np.ptp(plane) == 0 for plane in split(marked)[1:])  # grey stays grey


# Where it lies


def place_of(x: float, y: float, scale: float) -> np.ndarray:
    """(2, 3): a face crop with its left upper corner at x, y px, `scale` crop px to a px of the frame."""
    return np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)


@pytest.mark.parametrize(
    ("x", "y", "corner"),
    [(100, 60, "right below"), (240, 130, "left below"), (5, 130, "right below"), (130, -300, "right below")],
)
def test_it_lies_in_the_first_corner_without_a_mouth(x: float, y: float, corner: str) -> None:
    place = place_of(x, y, 1.0)
    rows, columns = free_corner((20, 80), (240, 320), [(place, SPEC)])
    assert (rows, columns) == (slice(208, 228), slice(224, 304) if corner == "right below" else slice(16, 96))
    assert not mask_in_frame((240, 320), place, SPEC, FEATHER, None)[rows, columns].any()


def test_it_goes_up_where_mouths_are_in_both_corners_below() -> None:
    places = np.stack([place_of(5, 130, 1.0), place_of(240, 130, 1.0)])
    assert free_corner((20, 80), (240, 320), [(place, SPEC) for place in places]) == (slice(12, 32), slice(224, 304))
    everywhere = np.stack([*places, place_of(5, -30, 1.0), place_of(240, -30, 1.0)])
    with pytest.raises(OptionError, match="on the mouth in every corner; give a shorter text"):
        free_corner((20, 80), (240, 320), [(place, SPEC) for place in everywhere])
    with pytest.raises(OptionError, match="takes 300 px of the 288 px across that are safe; give a shorter text"):
        free_corner((20, 300), (240, 320), [(place, SPEC) for place in places])


# What may be written


@pytest.mark.parametrize("text", ["Создано ИИ", "Généré par IA", "ΤΝ → βίντεο", "مولد"])
def test_many_languages_are_there_at_once(text: str) -> None:
    assert lettering.font_for(text).name == "DejaVuSans.ttf"
    assert lettering.lettering(text, 24).max() > 0.9


def test_an_installed_font_is_found_where_the_own_one_lacks_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    own = Path(matplotlib.get_data_path(), "fonts", "ttf")
    monkeypatch.setattr(
        lettering, "_fonts", lambda: iter([own / "cmr10.ttf", own / "cmex10.ttf", own / "DejaVuSans.ttf"])
    )
    assert lettering.font_for("ИИ").name == "DejaVuSans.ttf"


@pytest.mark.parametrize(
    ("text", "words"),
    [("AI 𓀀", "no font here has '𓀀'"), ("two\nlines", r"no font here has '\\n'"), ("\u200b", "nothing can be seen")],
)
def test_what_cannot_be_drawn_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    import matplotlib

    own = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    monkeypatch.setattr(lettering, "_fonts", lambda: iter([own]))
    with pytest.raises(OptionError, match=words):
        lettering.lettering(text, 20)


# In a render


def test_a_render_is_marked_and_else_the_same(
    avatar: Avatar, mark: Mark, generator_file: Path, short: Path, tmp_path: Path
) -> None:
    plain = render(avatar, generator_file, short, tmp_path / "plain.mp4", PLAIN).run()
    marked = render(avatar, generator_file, short, tmp_path / "marked.mp4", MARKED).run()
    kept = beside(mark, (avatar.info.height, avatar.info.width))
    coarse = kept[::2, ::2]
    pairs = list(zip(read_planes(marked), read_planes(plain), strict=True))
    assert len(pairs) == FRAMES
    for got, wanted in pairs:
        assert all(
            np.array_equal(a[m], b[m])
            for a, b, m in zip(split(got), split(wanted), (kept, coarse, coarse), strict=True)
        )
        assert np.array_equal(got, mark.on(wanted, BT709))


def test_what_is_made_of_a_render_is_marked_too(
    avatar: Avatar, mark: Mark, generator_file: Path, short: Path, tmp_path: Path
) -> None:
    """Frames that are kept, mouths that are pasted and a stream; but not the mouths by themselves."""
    kept: list[np.ndarray] = []

    def space(shape: tuple[int, int, int, int]) -> np.ndarray:
        kept.append(np.empty(shape, np.float32))
        return kept[-1]

    render(avatar, generator_file, short, tmp_path / "a.mp4", MARKED, space=space, mouths=space).run()
    frames, mouths = ((one * 255).round().astype(np.uint8) for one in kept)
    video = paste_mouths(avatar, iter(mouths), FRAMES, short, tmp_path / "b.mp4", MARKED).run()
    with SpeechStream(avatar, generator_file, MARKED) as stream:
        shown = [frames[2], next(iter(read_frames(video))), stream.next_frame().picture]
    for picture in shown:
        inside = picture[mark.part].astype(float)
        assert inside[mark.white > 0.9].mean() > 225
        assert inside[mark.white > 0.9].mean() > inside[mark.white == 0].mean() + 80
    assert np.array_equal(mouths, mouths_of(avatar, generator_file, short, tmp_path, PLAIN, space, kept))


def mouths_of(
    avatar: Avatar, generator: Path, audio: Path, folder: Path, options: RenderOptions, space: Callable, kept: list
) -> np.ndarray:
    render(avatar, generator, audio, folder / "c.mp4", options, space=space, mouths=space).run()
    return (kept[-1] * 255).round().astype(np.uint8)


def test_a_mark_that_cannot_be_drawn_is_refused_before_the_work(
    avatar: Avatar, generator_file: Path, short: Path, tmp_path: Path
) -> None:
    job = render(avatar, generator_file, short, tmp_path / "a.mp4", RenderOptions(mark="W" * 80))
    with pytest.raises(OptionError, match="give a shorter text"):
        next(job)
