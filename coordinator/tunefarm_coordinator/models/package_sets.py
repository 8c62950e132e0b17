"""One package for several sets of input shapes: a library for each, schedules and manifest for all.

    model.so, prepared_module.json, weights.npz     the first set's, as in a package that has one
    set-2/, set-3/, ...                             the same of the others; weights where they differ from the first's
    manifest.json                                   as in a package with one set, of the first; and `shape_sets`

`shape_sets` has an entry for each set, the first included: library, entries, inputs, outputs, functions, layout,
kernels and tasks as the manifest of a single set names them, and where its `module` and `weights` lie. Paths are
relative to the package.
"""

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunefarm_coordinator.models.database import TuningRecord
from tunefarm_coordinator.models.package import PackagedModel, build_library, build_package, complete_package
from tunefarm_coordinator.models.prepare import MODULE_FILE, WEIGHTS_FILE, load_prepared

# What the manifest says of each set.
_OF_A_SET = ("library", "entries", "inputs", "outputs", "layout", "kernels", "tasks", "functions")


def build_packages(
    prepared_dirs: Sequence[str | Path],
    traces: dict[str, str],
    out_dir: str | Path,
    manifest: dict[str, Any] | None = None,
    records: Sequence[TuningRecord] = (),
) -> PackagedModel:
    """Package one model, prepared for each of its shape sets, into `out_dir`. Arguments and errors are those of
    `build_package`, which does it where there is one set; its `library` is the first set's."""
    if len(prepared_dirs) == 1:
        return build_package(prepared_dirs[0], traces, out_dir, manifest, records)
    out_dir = Path(out_dir)
    prepared = [load_prepared(directory) for directory in prepared_dirs]
    first, facts = build_library(prepared[0], traces, out_dir)
    built, sets = [first], [_entry(facts, out_dir, out_dir)]
    for number, model in enumerate(prepared[1:], start=2):
        packaged, facts_of_set = build_library(model, traces, out_dir / f"set-{number}")
        built.append(packaged)
        sets.append(_entry(facts_of_set, packaged.directory, out_dir))
    complete_package(out_dir, prepared, records, {**facts, **(manifest or {}), "shape_sets": sets})
    tuned = {workload for packaged in built for workload in packaged.tuned}
    untuned = {workload for packaged in built for workload in packaged.untuned}
    return PackagedModel(out_dir, first.library, tuple(sorted(tuned)), tuple(sorted(untuned)))


def _entry(facts: dict[str, Any], folder: Path, package: Path) -> dict[str, Any]:
    """A set of the manifest, its library in `folder`. Weights that the first set has already are not kept again."""
    weights, first = folder / WEIGHTS_FILE, package / WEIGHTS_FILE
    if weights != first and filecmp.cmp(weights, first, shallow=False):
        weights.unlink()
        weights = first
    found = {name: facts[name] for name in _OF_A_SET}
    found["library"] = (folder / facts["library"]).relative_to(package).as_posix()
    found["module"] = (folder / MODULE_FILE).relative_to(package).as_posix()
    if "tail" in facts:
        tail = (folder / facts["tail"]["file"]).relative_to(package).as_posix()
        found["tail"] = {**facts["tail"], "file": tail}
    found["weights"] = weights.relative_to(package).as_posix()
    return found
