"""`tunefarm compile`: a model compiled with what the store has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefarm.cli import tuning
from tunefarm.cli.exits import DONE
from tunefarm.cli.known import DeviceClass, best_table
from tunefarm.cli.output import open_view, output_folder, print_document, print_rendered
from tunefarm.cli.parameters import AsJson, Connect, DataDir, Insecure, Reach, Token, run_command
from tunefarm.documents import found_document
from tunefarm.printable import printable_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunefarm.found import FoundSchedules

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Where the package goes (default: MODEL-compiled)."),
]
VerifiedOnly = Annotated[
    bool, typer.Option("--verified-only", help="Leave schedules out that no job's finals have verified.")
]


def compile_model(
    model: tuning.Model,
    inputs: tuning.Inputs = None,
    shape_sets: tuning.ShapeSets = None,
    padded: tuning.Padded = None,
    samples: tuning.Samples = None,
    ranges: tuning.Ranges = None,
    frozen: tuning.Frozen = None,
    forced: tuning.Forced = None,
    target: tuning.Target = "host",
    device_class: DeviceClass = "",
    verified_only: VerifiedOnly = False,
    allow_tf32: tuning.AllowTf32 = False,
    exact_math: tuning.ExactMath = False,
    without_reference: tuning.WithoutReference = False,
    out: Out = None,
    project: tuning.Project = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Compile MODEL.onnx with the best schedules that the store has: no trial, no device. Kernels that nothing is known
    of get their default schedules."""
    request = tuning.TuningRequest(
        model=model,
        inputs=tuple(inputs or ()),
        shape_sets=tuple(shape_sets or ()),
        padded=tuple(padded or ()),
        samples=samples,
        ranges=tuple(ranges or ()),
        frozen=tuple(frozen or ()),
        forced=tuple(forced or ()),
        target=target,
        allow_tf32=allow_tf32,
        exact_math=exact_math,
        without_reference=without_reference,
        project=project,
    )
    reach = Reach(connect, token, insecure, data_dir)
    with output_folder(out or Path(f"{model.stem}-compiled")) as folder:
        with open_view(as_json) as view, reach.client(agent=False, view=view) as client:
            variant = client.upload_model(
                model, request.shapes, project=project, progress=view.transferred, **request.said_of_inputs
            )
            view.notice("preparing and compiling the model")
            found = variant.compile(
                folder,
                target,
                device_class=device_class,
                verified_only=verified_only,
                allow_tf32=allow_tf32,
                exact_math=exact_math,
                without_reference=without_reference,
            )
        made = json.loads((folder / "manifest.json").read_text())
        if as_json:
            schedules = {task["workload"]: task["schedule"] for task in made["tasks"]}
            package = {"package": str(folder.absolute()), "checked_here": made["checked_here"], "schedules": schedules}
            print_document({**found_document(found), **package})
        else:
            print_rendered(best_table(printable_value(found)))
            for note in _notes(found, made, verified_only=verified_only):
                print_rendered(f"note: {note}")
            print_rendered(f"package: {folder.absolute()}\nnext: {run_command(folder)}")
    return DONE


def _notes(found: FoundSchedules, made: dict[str, Any], *, verified_only: bool) -> Iterator[str]:
    """What the package does not have of what was found, and what nobody has checked."""
    yield from found.notes
    default = {task["workload"] for task in made["tasks"] if task["schedule"] == "default"}
    known = [task for task in found.tasks if task.best is not None and not task.best.default_schedule]
    missing = [task for task in known if task.workload in default]
    if verified_only and (left := [task for task in missing if task.best is not None and not task.best.verified]):
        yield f"{len(left)} schedules that are not verified were left out: default ones in their place"
        missing = [task for task in missing if task not in left]
    if missing:
        yield f"{len(missing)} schedules no longer fit their kernels: default ones in their place"
    if not made["checked_here"]:
        yield "the package was not run: the coordinator's machine is of another kind. Compare its outputs on a device"
