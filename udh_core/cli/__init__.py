"""The command line `udh`, thin over the core. Exit codes: 0 done, 2 the input is at fault, 1 ours, 130 interrupted."""

from __future__ import annotations

import logging

import typer
from typer.core import TyperGroup

from ..batch.outcome import machines_fault
from ..errors import UdhError
from .batch import batch_command
from .console import InFlags, errors, on_one_line, replace_odd_characters, with_flags
from .demo import demo_command
from .doctor import doctor_command
from .evaluate import evaluate_command
from .export import export_command
from .prepare import audit_command, prepare_command
from .published import import_command, render_published_command
from .render import render_command
from .serve import serve_command
from .train import train_command, train_syncnet_command
from .weights import weights_app

COMMANDS = {  # in the order of `udh --help`: what it does, in a sentence
    "prepare": (prepare_command, "Turn a clip of a talking person into an avatar folder; run again to continue."),
    "train-syncnet": (train_syncnet_command, "Train a SyncNet, the lip-sync expert."),
    "train": (
        train_command,
        "Train the generator, the model of this person's mouth, and evaluate it: a page beside the file says how good "
        "it is.",
    ),
    "render": (render_command, "Make the person say it."),
    "serve": (serve_command, "Serve a page on which the person says live what is typed, uploaded or spoken."),
    "batch": (batch_command, "Do many jobs, here or on a Ray cluster; run again to continue."),
    "evaluate": (evaluate_command, "Measure a generator on the held-out part of its clip."),
    "audit": (audit_command, "Say what is wrong with a clip before anyone trains on it."),
    "doctor": (doctor_command, "Say what this installation lacks, and what to do."),
    "demo": (demo_command, "The whole chain in one go."),
    "import": (
        import_command,
        "Take over files of Ultralight-Digital-Human: a model, to render with; a data folder, as a clip to prepare.",
    ),
    "render-published": (
        render_published_command,
        "Render with an imported model onto its data folder, by the published rules: the baseline to compare with.",
    ),
    "export": (
        export_command,
        "Take a trained person elsewhere: as ONNX for other programs, or as one file that `udh render` takes.",
    ),
}


def _refused(line: str) -> typer.Exit:
    """Say what is wrong, in one line, and how the program ends."""
    errors.print(f"error: {on_one_line(line)}", style="red", soft_wrap=True)
    return typer.Exit(2)


class ExitCodes(TyperGroup):
    """Turns our own errors, a full disk and a device without memory into one line and exit code 2, Ctrl-C into 130."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().invoke(ctx)  # pyright: ignore[reportArgumentType]
        except UdhError as error:
            raise _refused(with_flags(str(error))) from error
        except (OSError, RuntimeError, MemoryError) as error:
            line = machines_fault(error)
            if not line:
                raise
            raise _refused(with_flags(line)) from error
        except KeyboardInterrupt as error:
            errors.print("interrupted; run it again to continue (training: with --resume)", style="yellow")
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=ExitCodes,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Give a person on video new things to say. Exit codes: 0 done, 2 the input is at fault, 1 a fault of this "
    "program, 130 interrupted.",
)
for _name, (_command, _help) in COMMANDS.items():
    app.command(_name, help=_help)(_command)
app.add_typer(weights_app, name="weights")


def main() -> None:
    """Entry point."""
    replace_odd_characters()
    handler = logging.StreamHandler()
    handler.setFormatter(InFlags("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    app()
