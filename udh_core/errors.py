"""Errors this package raises on purpose: the user's input is at fault and the message names the remedy.

A message is "what is wrong; what to do", in words of neither command line nor ComfyUI: an option is named as
`its_name`, the folder of a person is "the avatar", and what makes it "prepares" it. Each host has its own words for it.
"""

# What torch says on different devices where memory is short; only CUDA has a class for it.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class UdhError(Exception):
    """Base of every error a user can cause; the command line turns it into one line and exit code 2."""


class OptionError(UdhError):
    """An option has a value that is not possible, or options contradict each other."""


class FileError(UdhError):
    """A file or folder is missing, in use, in the way, or cannot be written under the name that was given."""


class InUseError(FileError):
    """Another run is writing this file or working in this folder; when it has ended there is no error any more."""


class RemoteError(FileError):
    """A file at an address (s3://…) cannot be read or written just now; later it may be."""


class MediaError(UdhError):
    """A video or audio file is missing, unreadable, too short, or silent where sound is needed; or encoding failed."""


class NoFaceError(UdhError):
    """No usable face where one is needed."""


class FormatError(UdhError):
    """A file is not of the kind or the format version that is expected."""


class MismatchError(UdhError):
    """Two files that are each in order do not belong together (other avatar, other encoder, other crop)."""


class DivergedError(UdhError):
    """A training left the finite numbers; nothing on disk was touched by it."""


class ProcessError(UdhError):
    """One of several processes that train together has ended or does not answer."""


class WeightsError(UdhError):
    """A weight file is missing or damaged and could not be fetched."""
