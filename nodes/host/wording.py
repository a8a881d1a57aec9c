"""The one place that every refusal of the core passes on its way to the user: said in ComfyUI's words, and shown."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import folder_paths

from ...udh_core.errors import FileError, UdhError
from . import display, folders, queueing

R = TypeVar("R")
Arguments = ParamSpec("Arguments")
OURS = {  # what the core says → what it means here
    "prepare the avatar with the `encoder`": "connect Extract Audio Features with the encoder",
    "prepare the avatar with that encoder": "extract the features with that encoder",
    "prepare the avatar again, it continues": "run Load Avatar Video and Detect Landmarks again, they go on from there",
    "prepare the avatar again": "run Load Avatar Video and Detect Landmarks again",
    "cannot be prepared further; give another folder": "cannot be prepared further; choose another name",
    "give another folder": "choose another name",
    "give the name of a new folder": "choose another name",
    "lower the learning rate": "press Run to go on from there, or choose another `seed`",
    "run `udh weights fetch`": f"run `{sys.executable} {folders.INSTALLER}`",
    "`pip install": f"`{sys.executable} -m pip install",
    "give the speech that belongs to it as `audio`": "connect the speech that belongs to it to `audio`",
    "give a separate audio file": "choose a sound file",
    "give a checkpoint written by": "choose one written by",
    "give a name that ends": "choose a name that ends",
    "`face_at` ": "the given place ",
    "give x and y of the face in its first frame": "connect a box or landmarks of the avatar's first frame",
}
SOUND = re.compile(r"\b[0-9a-f]{16}(-\d+)?\.wav\b")  # an AUDIO that lies in the temp folder
TEMPORARY = re.compile(r"-[0-9a-f]{16}\b")  # the end of a name there
CLIP = re.compile(r"\b[0-9a-f]{16}\.mp4\b")  # a VIDEO that does


def reported(execute: Callable[Arguments, R]) -> Callable[Arguments, R]:
    """Decorator of a node's `execute`: what the core refuses stands on the node and is raised in ComfyUI's words."""

    @functools.wraps(execute)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> R:
        queueing.begin()
        try:
            made = execute(*args, **kwargs)
        except (UdhError, OSError) as error:
            text = in_our_words(error)
            display.say(text)
            raise short(error)(text) from error
        queueing.end()
        return made

    return run


def required(check: Callable[[], object]) -> bool:
    """For `validate_inputs` where no widget is at fault: True, or the refusal, which ComfyUI shows at once."""
    try:
        check()
    except UdhError as error:
        raise short(error)(in_our_words(error)) from error
    return True


def checked(check: Callable[[], object]) -> bool | str:
    """What `validate_inputs` returns of a check that may refuse: True, or the reason."""
    try:
        check()
    except UdhError as error:
        return in_our_words(error)
    return True


@functools.cache
def _shown_as(kind: type[UdhError]) -> type[UdhError]:
    # ComfyUI shows a class with its module, which is a path here; of built-in classes it shows the name alone.
    return type(kind.__name__, (kind,), {"__module__": "builtins"})


def short(error: UdhError | OSError) -> type[UdhError]:
    """The class of this error under a short name."""
    return _shown_as(type(error) if isinstance(error, UdhError) else FileError)


def in_our_words(error: UdhError | OSError) -> str:
    """What to do, then what is wrong, with short names of files, and last the folder they lie in."""
    message = str(error)
    if isinstance(error, OSError):
        message = f"{error.strerror or error}: {error.filename or ''}; make room there, or choose another name"
    for neutral, ours in OURS.items():
        message = message.replace(neutral, ours)
    message, where = _without_folder(message)
    message = TEMPORARY.sub("", message)
    message = CLIP.sub("the VIDEO", SOUND.sub("the AUDIO", message))
    what, _, remedy = message.rpartition("; ")
    if what:
        message = f"{remedy[0].upper()}{remedy[1:]}: {what}"
    return f"{message} (in {where})" if where else message


def _without_folder(message: str) -> tuple[str, str]:
    """(the message with paths below ComfyUI's folders shortened, the folder; "" where it says nothing to the user)."""
    temp = str(folders.temp_folder())
    given = (folder_paths.get_input_directory(), folder_paths.get_output_directory())
    where = ""
    for place in (temp, *given, *folder_paths.get_folder_paths(folders.FOLDER)):
        if f"{place}{os.sep}" in message:
            message = message.replace(f"{place}{os.sep}", "")
            where = where or ("" if place == temp else place)
    return message, where
