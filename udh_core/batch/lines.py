"""The jobs file: a JSON object in each line, which becomes a job; what is wrong in it is said with file and line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import FormatError, UdhError
from ..files import without_links
from .addresses import is_address, path_of, stand_in
from .jobs import KINDS, AnyJob, Start, TrainJob

COMMAND, PRIORITY, OPTIONS, ADDRESSES = "command", "priority", "options", "addresses"
EXPECTED = {Path: "a path in quotes", str: "a text in quotes", bool: "true or false", int: "a whole number"}


@dataclass(frozen=True)
class JobLine:
    """A job and where it stands."""

    number: int  # of the line, from 1
    key: str  # the same for the same line, wherever it stands: what the journal calls it
    command: str  # "render", "prepare" or "train"
    job: AnyJob  # its paths are absolute, but for those that stand for addresses
    priority: int  # higher ones are begun first
    needs: tuple[int, ...] = ()  # numbers of the lines that make what it reads


def read_jobs(path: Path) -> list[JobLine]:
    """All jobs of a file, paths in it taken from the folder it lies in.

    FormatError, naming file, line and remedy: no JSON, an unknown key, a value of a wrong type or out of its range, two
    jobs with one output, jobs that wait for each other.
    """
    folder = path.absolute().parent
    jobs = []
    for number, text in enumerate(_text_of(path).splitlines(), 1):
        if text.strip():
            with_name = f"{path}, line {number}"
            jobs.append(_line(_object(text, with_name), number, with_name, folder))
    if not jobs:
        raise FormatError(f'{path} holds no job; write one JSON object a line, such as {{"command": "render", …}}')
    return _connected(jobs, path)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise FormatError(f"{path} is no text in UTF-8; give a file with one JSON object in each line") from e
    except OSError as e:
        raise FormatError(
            f"cannot read {path}: {e.strerror or e}; give a file with one JSON object in each line"
        ) from e


def _object(text: str, where: str) -> dict[str, Any]:
    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise FormatError(f'{where}: "{twice}" is there twice; leave one out')
        return dict(pairs)

    try:
        found = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{where}: this is not JSON ({e}); write one object a line") from e
    if not isinstance(found, dict):
        raise FormatError(f'{where}: this is no JSON object; write {{"command": "render", …}}')
    return found


def _line(said: dict[str, Any], number: int, where: str, folder: Path) -> JobLine:
    key = hashlib.sha256(json.dumps({**said, PRIORITY: 0}, sort_keys=True).encode()).hexdigest()[:16]
    values = dict(said)
    command = values.pop(COMMAND, None)
    if not isinstance(command, str) or command not in KINDS:
        raise FormatError(f'{where}: "{COMMAND}" is {json.dumps(command)}; choose {_listed(KINDS)}')
    priority = _converted(values.pop(PRIORITY, 0), int, PRIORITY, where)
    return JobLine(number, key, command, _job(KINDS[command], values, where, folder), priority)


def _job(kind: type[AnyJob], values: dict[str, Any], where: str, folder: Path) -> AnyJob:
    hints = {one.name: get_type_hints(kind)[one.name] for one in fields(kind) if one.name != ADDRESSES}
    option_hints = get_type_hints(hints.pop(OPTIONS))
    _check_names(kind, values, [*hints, *option_hints], where)
    addresses = {name: value for name, value in values.items() if _is_elsewhere(value, hints.get(name))}
    of_job: dict[str, Any] = {ADDRESSES: addresses}
    of_options: dict[str, Any] = {}
    for name, value in values.items():
        if name in hints:
            found = _converted(value, hints[name], name, where)
            of_job[name] = _place(value, found, folder, where) if isinstance(found, Path) else found
        else:
            of_options[name] = _converted(value, option_hints[name], name, where)
    try:
        of_job[OPTIONS] = replace(kind.options, **of_options)
        return kind(**of_job)
    except UdhError as error:  # it names options in backticks, which are keys here
        raise FormatError(f"{where}: {error}".replace("`", '"')) from error


def _is_elsewhere(value: object, hint: object) -> bool:
    if not isinstance(value, str) or Path not in (hint, *get_args(hint)) or not is_address(value):
        return False
    return not value.lower().startswith(("file://", "local://"))


def _place(said: str, path: Path, folder: Path, where: str) -> Path:
    """A path of the jobs file, from its folder; what stands for an address."""
    if not is_address(said):
        return folder / path
    try:
        return path_of(said) or stand_in(said)
    except FormatError as e:
        raise FormatError(f"{where}: {e}") from e


def _check_names(kind: type[AnyJob], given: Iterable[str], known: Sequence[str], where: str) -> None:
    command = next(name for name, other in KINDS.items() if other is kind)
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f'did you mean "{close[0]}"?' if close else f"choose among {_listed(known)}"
            raise FormatError(f'{where}: there is no "{name}" in a job that is to {command}; {hint}')
    needed = [one.name for one in fields(kind) if one.default is one.default_factory is MISSING]
    needed = [name for name in needed if name not in given]
    if needed:
        raise FormatError(f'{where}: a job that is to {command} needs "{needed[0]}"; add it')


def _converted(value: Any, kind: Any, name: str, where: str) -> Any:  # noqa: ANN401 (whatever JSON and a field may hold)
    """The value as its field wants it; FormatError when it is of another type."""
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if isinstance(value, list) and len(value) == len(kinds):
            return tuple(_converted(one, each, name, where) for one, each in zip(value, kinds, strict=True))
        raise FormatError(f'{where}: "{name}" is {_short(value)}; give a list of {len(kinds)} numbers')
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise FormatError(f'{where}: "{name}" is {_short(value)}; choose {_listed(get_args(kind))}')
    if _is_a(value, kind):
        return Path(value) if kind is Path else value
    raise FormatError(f'{where}: "{name}" is {_short(value)}; give {EXPECTED.get(kind, "a number")}')


def _is_a(value: object, kind: type) -> bool:
    if kind is Path:
        return isinstance(value, str) and value != "" and "\0" not in value
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _connected(jobs: Sequence[JobLine], path: Path) -> list[JobLine]:
    """The same jobs, each with the lines it needs. FormatError: two have one output."""
    maker: dict[Path, int] = {}
    for line in jobs:
        place = without_links(line.job.output)
        if place in maker:
            said = f"{line.job.called(line.job.output)} is made by line {maker[place]} already"
            raise FormatError(f"{path}, line {line.number}: {said}; give another name")
        maker[place] = line.number
    return [replace(line, needs=_needs(line, maker)) for line in jobs]


def _needs(line: JobLine, maker: Mapping[Path, int]) -> tuple[int, ...]:
    makers = (maker.get(without_links(one)) for one in line.job.inputs)
    return tuple(dict.fromkeys(number for number in makers if number is not None))


def check_inputs(jobs: Sequence[JobLine], path: Path, begun: Collection[str] = ()) -> None:
    """FormatError when something that these jobs read is not there, and no line makes it; or a training would be lost.

    What lies at an address is looked for by the worker that needs it: a cluster's machines have the right to, perhaps.

    begun: keys of jobs that an earlier run has begun, whose outputs may be half done.
    """
    made = {without_links(line.job.output) for line in jobs}
    for line in jobs:
        where = f"{path}, line {line.number}"
        if line.job.addresses and importlib.util.find_spec("fsspec") is None:
            raise FormatError(f'{where}: an address needs fsspec; pip install "ultralight-digital-human[remote]"')
        for one in filter(line.job.is_here, line.job.inputs):
            if without_links(one) not in made and not one.exists():
                raise FormatError(f"{where}: there is no {one}; mend the name, or put it there")
        new = isinstance(line.job, TrainJob) and line.job.start == "new" and line.key not in begun
        if new and line.job.output.exists():
            raise FormatError(f'{where}: {line.job.output} is there already; add "start", {_listed(get_args(Start))}')
