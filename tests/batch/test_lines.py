"""A jobs file: what its lines may say, and the one line that says what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from udh_core.batch.jobs import BatchOptions, PrepareJob, RenderJob, TrainJob
from udh_core.batch.lines import check_inputs, read_jobs
from udh_core.batch.plan import Plan
from udh_core.errors import FormatError, OptionError

RENDER = {"command": "render", "avatar": "a", "generator": "g.safetensors", "audio": "s.wav", "out": "o.mp4"}
PREPARE = {"command": "prepare", "video": "me.mp4", "avatar": "a"}
TRAIN = {"command": "train", "avatar": "a", "out": "g.safetensors"}


def write(folder: Path, *lines: object) -> Path:
    path = folder / "jobs.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def refused(folder: Path, *lines: object) -> str:
    with pytest.raises(FormatError) as error:
        Plan(read_jobs(write(folder, *lines)))
    assert "\n" not in str(error.value) and "`" not in str(error.value)
    return str(error.value).removeprefix(str(folder / "jobs.jsonl"))


def test_lines_are_jobs(tmp_path: Path) -> None:
    said = (RENDER | {"amplitude": 1, "lost": "hold", "priority": 3}, "", PREPARE | {"face_point": [1, 2.5]}, TRAIN)
    render, prepare, train = read_jobs(write(tmp_path, *said))
    assert isinstance(render.job, RenderJob) and isinstance(prepare.job, PrepareJob) and isinstance(train.job, TrainJob)
    assert (render.number, prepare.number, train.number) == (1, 3, 4)
    assert render.job.avatar == tmp_path / "a" and render.job.out == tmp_path / "o.mp4"
    assert (render.job.options.amplitude, render.job.options.lost, render.priority) == (1, "hold", 3)
    assert prepare.job.options.face_point == (1, 2.5)
    assert (render.needs, prepare.needs, train.needs) == ((3, 4), (), (3,))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("[1]", "this is no JSON object"),
        ('{"command": "render", "out": "a.mp4", "out": "b.mp4"}', '"out" is there twice; leave one out'),
        ({"command": "paint"}, '"command" is "paint"; choose "render", "prepare", "train"'),
        ({"command": ["render"]}, '"command" is ["render"]; choose'),
        (RENDER | {"amplitud": 1}, 'there is no "amplitud" in a job that is to render; did you mean "amplitude"?'),
        ({"command": "prepare", "avatar": "a"}, 'a job that is to prepare needs "video"; add it'),
        (RENDER | {"rest": "no"}, '"rest" is "no"; give true or false'),
        (RENDER | {"crf": True}, '"crf" is true; give a whole number'),
        (RENDER | {"amplitude": "1"}, '"amplitude" is "1"; give a number'),
        (RENDER | {"amplitude": 9}, '"amplitude" = 9: choose from 0.5 to 1.5'),
        (RENDER | {"lost": "drop"}, '"lost" is "drop"; choose "pass", "hold", "fail"'),
        (RENDER | {"out": ""}, '"out" is ""; give a path in quotes'),
        (RENDER | {"priority": "high"}, '"priority" is "high"; give a whole number'),
        (RENDER | {"text": "hello"}, 'give either "audio" or "text"'),
        (RENDER | {"bundle": "b"}, 'give either "avatar" and "generator", or "bundle"'),
        (PREPARE | {"face_point": [1]}, '"face_point" is [1]; give a list of 2 numbers'),
        (PREPARE | {"crop_px": 100}, '"crop_px" = 100: choose a multiple of 32'),
    ],
)
def test_a_line_at_fault_is_named(tmp_path: Path, line: object, said: str) -> None:
    assert refused(tmp_path, TRAIN, line).startswith(f", line 2: {said}")


def test_lines_that_do_not_go_together(tmp_path: Path) -> None:
    assert "line 2: " in (said := refused(tmp_path, RENDER, RENDER | {"out": "./b/../o.mp4"}))
    assert "is made by line 1 already; give another name" in said
    circle = (RENDER | {"audio": "b.mp4", "out": "a.mp4"}, RENDER | {"audio": "a.mp4", "out": "b.mp4"})
    assert "wait for each other; give one of them other files" in refused(tmp_path, *circle)
    assert refused(tmp_path, "") == ' holds no job; write one JSON object a line, such as {"command": "render", …}'


def test_what_is_not_there_is_named_before_the_work(tmp_path: Path) -> None:
    path = write(tmp_path, PREPARE, TRAIN, RENDER)
    with pytest.raises(FormatError, match=r"line 1: there is no .*me\.mp4; mend the name, or put it there"):
        check_inputs(read_jobs(path), path)
    (tmp_path / "me.mp4").touch()
    with pytest.raises(FormatError, match=r"line 3: there is no .*s\.wav"):  # the avatar and the generator will be
        check_inputs(read_jobs(path), path)
    for name in ("s.wav", "g.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(FormatError, match=r'line 2: .*g\.safetensors is there already; add "start"'):
        check_inputs(read_jobs(path), path)
    jobs = read_jobs(path)
    check_inputs(jobs, path, begun=[jobs[1].key])  # it may be half done


def test_a_line_has_its_own_key_wherever_it_stands(tmp_path: Path) -> None:
    first = {line.command: line.key for line in read_jobs(write(tmp_path, PREPARE, TRAIN))}
    moved = {line.command: line.key for line in read_jobs(write(tmp_path, TRAIN | {"priority": 2}, PREPARE))}
    changed = read_jobs(write(tmp_path, PREPARE | {"crop_px": 160}))[0].key
    assert moved == first and changed != first["prepare"]


def test_order(tmp_path: Path) -> None:
    """What a job needs comes first, then priority, then the order of the file; a failure takes what needs it along."""
    other = RENDER | {"avatar": "b", "generator": "h"}
    said = (RENDER, other | {"out": "1.mp4"}, PREPARE, other | {"out": "2.mp4", "priority": 1}, TRAIN)
    plan = Plan(read_jobs(write(tmp_path, *said)))
    assert [line.number for _ in range(3) if (line := plan.next(0.0))] == [4, 2, 3]
    assert plan.next(0.0) is None
    plan.again(2, when_s=5.0)
    assert plan.next(4.0) is None
    assert (line := plan.next(5.0)) and line.number == 2
    plan.done(2)
    plan.done(4)
    assert [line.number for line in plan.failed(3)] == [1, 5]
    assert plan.open == set()


def test_options_of_a_batch() -> None:
    with pytest.raises(OptionError, match="`workers` = 0: choose 1 or more"):
        BatchOptions(workers=0)
    with pytest.raises(OptionError, match="`address` is that of a Ray cluster"):
        BatchOptions(address="127.0.0.1:6379")
