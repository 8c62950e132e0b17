"""A package's prepared module, compiled by stock passes with what the store has. Run as a process of its own.

    python stock_compile.py PACKAGE OUT_DIR --database FOLDER     what `tunefarm schedules export` wrote for plain TVM
    python stock_compile.py PACKAGE OUT_DIR --store FOLDER        the store in a data folder, asked through the SDK

Writes OUT_DIR/model.so, OUT_DIR/weights.npz (laid out as the kernels read them) and OUT_DIR/stock.json
{seconds, kernels, scheduled, outputs}. The passes are those of TVM's own `static_shape_tuning_pipeline`, behind its
tuner.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tunefarm import Client
from tunefarm.embedded import EmbeddedSettings

TRANSFORM = "main_transform_params"


@contextlib.contextmanager
def opened(database: Path | None, store: Path | None, target: Target) -> Iterator[Any]:
    """The database."""
    if database is not None:
        yield ms.database.JSONDatabase(work_dir=str(database))
        return
    with Client(embedded=EmbeddedSettings(data_dir=store, agent=False)) as client:
        yield client.schedules.database(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("out", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--database", type=Path)
    source.add_argument("--store", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((given.package / "manifest.json").read_text())
    target = Target(manifest["target"])
    module = tvm.ir.load_json((given.package / "prepared_module.json").read_text())
    started = time.perf_counter()
    with opened(given.database, given.store, target) as database, target, database:
        applied = relax.transform.MetaScheduleApplyDatabase(enable_warning=False)(module)
    with target:
        passes = [
            relax.transform.SplitLayoutRewritePreproc(),
            relax.transform.LiftTransformParams(),
            relax.transform.FoldConstant(),
        ]
        executable = tvm.compile(tvm.transform.Sequential(passes)(applied), target)
    executable.export_library(str(given.out / "model.so"))
    seconds = time.perf_counter() - started
    with np.load(given.package / "weights.npz") as archive:
        weights = [tvm.runtime.tensor(archive[f"w{number}"]) for number in range(len(archive.files))]
    laid_out = relax.VirtualMachine(executable, tvm.cpu())[TRANSFORM](weights)
    np.savez(given.out / "weights.npz", **{f"w{number}": weight.numpy() for number, weight in enumerate(laid_out)})
    kernels = [function for function in applied.functions.values() if isinstance(function, tvm.tirx.PrimFunc)]
    figures = {
        "seconds": seconds,
        "kernels": len(kernels),
        "scheduled": sum(bool(kernel.attrs.get("tirx.is_scheduled")) for kernel in kernels),
        "outputs": [output["name"] for output in manifest["outputs"]],
    }
    (given.out / "stock.json").write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
