"""`tunefarm schedules ...`: the best-schedule database, out to files, and in from files and other farms."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefarm.cli import known, pruning, retracting, verifying
from tunefarm.cli.exits import DONE, INTERRUPTED, SET_ASIDE
from tunefarm.cli.output import console, print_document, print_error, print_rendered
from tunefarm.cli.parameters import (
    AsJson,
    Connect,
    DataDir,
    DeviceClass,
    Insecure,
    Project,
    Reach,
    Target,
    Token,
    Workload,
)
from tunefarm.cli.telling import bar, session
from tunefarm.documents import exported_databases_document, exported_document, imported_document, stats_document
from tunefarm.errors import InvalidInput, TunefarmError
from tunefarm.formats import counted, failures, size
from tunefarm.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunefarm.client import Client
    from tunefarm.schedule_stats import ScheduleStats
    from tunefarm.schedules import Imported

_SHOWN_REFUSALS = 20


class Format(enum.StrEnum):
    """What files of schedules are written as."""

    TUNEFARM = "tunefarm"
    METASCHEDULE = "metaschedule"


File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|DIR", help="JSON lines, packed where its name ends in .gz; with --format metaschedule a folder."
    ),
]
Files = Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Exports; of a folder, all in it.")]
FileFormat = Annotated[
    Format,
    typer.Option(
        "--format", help="tunefarm: between farms. metaschedule: folders with TVM's database_tuning_record.json."
    ),
]
MeasuredOn = Annotated[
    str,
    typer.Option(
        "--class",
        metavar="NAME",
        help="Of the device that a database of TVM was measured on (default: that of the devices of its target).",
    ),
]
Sources = Annotated[
    list[str], typer.Argument(metavar="FILE|HOST:PORT...", help="Exports, or other farms' coordinators.")
]
FromToken = Annotated[
    str | None,
    typer.Option("--from-token", metavar="TOKEN", envvar="TUNEFARM_FROM_TOKEN", help="For the farms to take from."),
]


def build() -> typer.Typer:
    """The group with all its commands."""
    plain: Any = {"no_args_is_help": True, "rich_markup_mode": None}
    group = typer.Typer(help="The best-schedule database: what it holds, out to files, in from other farms.", **plain)
    group.command("best", short_help="The best schedule of each kernel of a model.")(known.best)
    group.command("top", short_help="The fastest schedules of a model's kernels.")(known.top)
    group.command("export", short_help="Write schedules to a file.")(export)
    group.command("import", short_help="Take in schedules from files.")(import_)
    group.command("merge", short_help="Take in what other farms have.")(merge)
    group.command("retract", short_help="Take back what an agent, a device or a job brought.")(retracting.retract)
    group.command("prune", short_help="Keep the fastest schedules of each kernel alone.")(pruning.prune)
    group.command("verify", short_help="Measure and check what the store has for a model.")(verifying.verify)
    group.command("stats", short_help="What the store holds, in numbers.")(stats)
    return group


def export(
    file: File,
    workload: Workload = "",
    target: Target = "",
    device_class: DeviceClass = "",
    project: Project = "",
    file_format: FileFormat = Format.TUNEFARM,
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Write records, with the kernels and the devices that they are of, to FILE: another farm takes them in with
    `tunefarm schedules import`. With --format metaschedule write those that have a time below DIR, a database for each
    target that plain TVM loads: ms.database.JSONDatabase(work_dir=...)."""
    if file_format is Format.METASCHEDULE:
        filters = {"workload": workload, "target": target, "device_class": device_class, "project": project}
        return _export_databases(Reach(connect, token, insecure, data_dir), file, filters, as_json)
    with session(Reach(connect, token, insecure, data_dir)) as (client, telling):
        written = client.schedules.export_to(
            file,
            workload=workload,
            target=target,
            device_class=device_class,
            project=project,
            progress=lambda count: telling(lambda: f"writing {file.name}: {count:,} items"),
        )
    if as_json:
        print_document(exported_document(written))
    else:
        of = f"{counted(written.workloads, 'workload')} and {counted(written.devices, 'device')}"
        print_rendered(f"{counted(written.records, 'record')} of {of} in {file} ({size(written.size)})")
    return DONE


def import_(
    files: Files,
    file_format: FileFormat = Format.TUNEFARM,
    device_class: MeasuredOn = "",
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Take in schedules that `tunefarm schedules export` wrote, or with --format metaschedule plain TVM.

    What is known already is kept once: run it again after it was broken off. Lines that can't be taken are set aside,
    with the reason; exits with 3 then. Taken in, a record is a hint: it becomes best when it was measured and checked
    here.
    """
    reach = Reach(connect, token, insecure, data_dir)
    if file_format is Format.METASCHEDULE:
        return _import_databases(reach, files, device_class, as_json)
    if device_class:
        raise InvalidInput("--class is for --format metaschedule: other exports say what they were measured on")
    _check(files)
    return _take(reach, lambda client, tell: [client.schedules.import_from(files, progress=tell)], as_json)


def _import_databases(reach: Reach, folders: list[Path], device_class: str, as_json: bool) -> int:
    from tunefarm.metaschedule import find_databases

    find_databases(folders)  # before anything is started
    # This machine's own device says which class is meant.
    agent = reach.connect is None and not device_class

    def take(client: Client, tell: Callable[[Imported, int, int], None]) -> Iterator[Imported]:
        if agent:
            client.devices()  # waits for it
        yield client.schedules.import_metaschedule(folders, device_class=device_class, progress=tell)

    return _take(reach, take, as_json, agent=agent)


def _export_databases(reach: Reach, folder: Path, filters: dict[str, str], as_json: bool) -> int:
    with session(reach) as (client, telling):
        written = client.schedules.export_metaschedule(
            folder, **filters, progress=lambda count: telling(lambda: f"writing {folder.name}: {count:,} records")
        )
    if as_json:
        print_document(exported_databases_document(written))
        return DONE
    for of in written.folders:
        print_rendered(f"{counted(of.records, 'record')} of {counted(of.workloads, 'workload')} in {of.path}")
        if len(of.device_classes) > 1:
            names = ", ".join(of.device_classes)
            print_error(f"  its times are of several device classes, which TVM can't tell apart: {names}")
            print_error("  export one of them with --class")
    for count, reason in (
        (written.other_algorithm, "of another algorithm than the kernel's own, which TVM has no trace of"),
        (written.without_module, "of kernels whose code the store does not have: tune or import the model once more"),
        (written.unfit, "without a trace that fits the kernel"),
    ):
        if count:
            print_error(f"left out: {counted(count, 'record')} {reason}")
    return DONE


def merge(
    sources: Sources,
    connect: Connect = None,
    token: Token = None,
    from_token: FromToken = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Take in all schedules of other farms: from their exports, or from their coordinators at HOST:PORT.

    As `tunefarm schedules import` otherwise. --token is for the farm that takes them, --from-token for those that give.
    """
    from tunefarm.client import Client

    named = [(source, _as_file(source)) for source in sources]
    _check([path for _, path in named if path is not None])
    reach = Reach(connect, token, insecure, data_dir)

    def take(client: Client, tell: Callable[[Imported, int, int], None]) -> Iterator[Imported]:
        for source, path in named:
            if path is not None:
                yield client.schedules.import_from(path, progress=tell)
            else:
                with Client(source, token=from_token, insecure=insecure) as other:
                    yield client.schedules.merge_from(other.schedules, name=source, progress=tell)

    return _take(reach, take, as_json)


def stats(
    connect: Connect = None,
    token: Token = None,
    insecure: Insecure = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Count the store's records: by outcome, target and device class."""
    with Reach(connect, token, insecure, data_dir).session(agent=False) as client:
        found = client.schedules.stats()
    if as_json:
        print_document(stats_document(found))
    else:
        for part in _shown(found, console(stderr=False).width):
            print_rendered(part)
    return DONE


# ---- what goes on


_Take = Callable[["Client", Callable[["Imported", int, int], None]], "Iterator[Imported] | list[Imported]"]


def _take(reach: Reach, take: _Take, as_json: bool, *, agent: bool = False) -> int:
    """Takes in, tells what came of it, and returns the exit code."""
    total = _Total()
    try:
        with session(reach, agent=agent) as (client, telling):

            def tell(so_far: Imported, done: int, size: int) -> None:
                total.now(so_far)
                telling(lambda: _progress(total.sum, done, size))

            for part in take(client, tell):
                total.ended(part)
    except KeyboardInterrupt:
        came = counted(total.sum.added, "record")
        print_error(f"interrupted: {came} taken in, and kept. The same command goes on where it stopped")
        return INTERRUPTED
    except TunefarmError:
        if total.sum.added:
            print_error(f"{counted(total.sum.added, 'record')} taken in, and kept. The same command goes on there")
        raise
    if as_json:
        print_document(imported_document(total.sum))
    else:
        print_rendered(_came(total.sum))
        _print_refused(total.sum)
    return SET_ASIDE if total.sum.refused_count else DONE


class _Total:
    """What came of several imports, one after another."""

    def __init__(self) -> None:
        from tunefarm.schedules import Imported

        self._before = self.sum = Imported()

    def now(self, so_far: Imported) -> None:
        self.sum = self._before + so_far

    def ended(self, part: Imported) -> None:
        self.now(part)
        self._before = self.sum


def _progress(so_far: Imported, done: int, size: int) -> str:
    came = f"{so_far.added:,} new, {so_far.known:,} known"
    if so_far.refused_count:
        came += f", {so_far.refused_count:,} set aside"
    if not size:
        return f"taking in: {came}"
    return f"taking in {bar(done, size)}  {came}"


# ---- how it reads


def _came(imported: Imported) -> str:
    came = f"{counted(imported.added, 'record')} taken in, {imported.known:,} known already"
    return f"{came}; new: {counted(imported.workloads, 'workload')}, {counted(imported.devices, 'device')}"


def _print_refused(imported: Imported) -> None:
    if not imported.refused_count:
        return
    print_error(f"{counted(imported.refused_count, 'line')} set aside ({failures(_by_name(imported))}):")
    for item in imported.refused[:_SHOWN_REFUSALS]:
        print_error(f"  {printable(item.source)}:{item.line}: {printable(item.reason)}")
    if imported.refused_count > _SHOWN_REFUSALS:
        print_error(f"  and {imported.refused_count - _SHOWN_REFUSALS:,} more: --json lists them")


def _by_name(imported: Imported) -> dict[str, int]:
    return {str(kind): count for kind, count in imported.refused_by_kind.items()}


def _shown(stats: ScheduleStats, width: int) -> Iterator[RenderableType]:
    from rich.table import Table

    if not stats.records:
        yield "no records: `tunefarm tune` makes some, `tunefarm schedules import` takes them in"
        return
    parts = [f"{stats.valid:,} valid", f"{stats.censored:,} let go early", f"{sum(stats.failed.values()):,} failed"]
    if stats.failed:
        parts[-1] += f" ({failures(dict(stats.failed))})"
    yield f"{counted(stats.records, 'record')}: {', '.join(parts)}; {stats.imported:,} of them imported"
    if stats.retracted:
        yield f"{counted(stats.retracted, 'record')} taken back, beside these"
    if stats.pruned:
        yield f"{counted(stats.pruned, 'record')} pruned, which count as trials still"
    yield f"{counted(stats.candidates, 'candidate')} of {counted(stats.workloads, 'workload')}"
    if stats.oldest is not None and stats.newest is not None:
        # What came from TVM's databases says no time: it is of the Unix epoch.
        since = f"{stats.oldest.astimezone():%Y-%m-%d %H:%M}" if stats.oldest.timestamp() > 0 else "a time unknown"
        until = f"{stats.newest.astimezone():%Y-%m-%d %H:%M}" if stats.newest.timestamp() > 0 else "a time unknown"
        yield f"measured from {since} to {until}"
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("target", overflow="fold", min_width=12)
    table.add_column("device class", overflow="fold", min_width=12)
    numbers = ("records", "valid", "workloads") if width >= 70 else ("records", "valid")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for scope in stats.scopes:
        name = scope.device_class or "(devices not known)"
        counts = [f"{getattr(scope, number):,}" for number in numbers]
        table.add_row(printable(scope.target), printable(name), *counts)
    yield table


def _check(files: list[Path]) -> None:
    """Raises InvalidInput, before anything is started, where a file is missing or another program's."""
    from tunefarm.schedule_file import find_files

    find_files(files)


def _as_file(source: str) -> Path | None:
    """The file or folder that is meant; None: a coordinator's address. Raises InvalidInput: neither."""
    from tunefarm.address import parse_address

    path = Path(source)
    if path.exists():
        return path
    if "/" in source or path.suffix in (".jsonl", ".gz", ".json"):
        raise InvalidInput(f"no such file: {source}")
    parse_address(source)
    return None
