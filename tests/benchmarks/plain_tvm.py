"""Plain TVM on the same model: what `tune_tasks` of the same wheel makes of it. Run as a process of its own.

    python plain_tvm.py MODEL.onnx OUT_DIR --trials N --round 64

Writes OUT_DIR/model.so and OUT_DIR/plain.json {seconds, trials, tasks}. Nothing of tunefarm is imported: this is what a
user of TVM alone would write, with the model simplified first (onnxslim), without which most models don't import.
"""

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, required=True, help="trials in total (max_trials_global)")
    parser.add_argument("--round", type=int, default=64, help="num_trials_per_iter; 64 is the default of tune_tasks")
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    import onnx
    import onnxslim
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.s_tir import meta_schedule as ms

    cpu = tvm.get_global_func("target.llvm_get_system_cpu")()
    target = tvm.target.Target({"kind": "llvm", "mcpu": str(cpu), "num-cores": given.cores})
    module = from_onnx(onnxslim.slim(onnx.load(given.model)), keep_params_in_input=False)
    module = relax.get_pipeline("zero")(module)
    with target:
        tasks = ms.relax_integration.extract_tasks(module, target)
        contexts, weights = ms.relax_integration.extracted_tasks_to_tune_contexts(tasks, str(given.out / "work"))
        database = ms.tune.tune_tasks(
            tasks=contexts,
            task_weights=weights,
            work_dir=str(given.out / "work"),
            max_trials_global=given.trials,
            num_trials_per_iter=given.round,
            builder=ms.builder.LocalBuilder(max_workers=given.cores),
        )
        with database:
            module = relax.transform.MetaScheduleApplyDatabase(enable_warning=False)(module)
        executable = tvm.compile(module, target)
    executable.export_library(str(given.out / "model.so"))
    seconds = time.perf_counter() - started
    figures = {"seconds": seconds, "trials": len(database.get_all_tuning_records()), "tasks": len(tasks)}
    (given.out / "plain.json").write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
