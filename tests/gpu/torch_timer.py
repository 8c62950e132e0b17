"""PyTorch's ways to run the models of the GPU check, timed on request (`timer_protocol`).

    python torch_timer.py FOLDER resnet18-float32,encoder-float16 [--device cpu] [--allow-tf32] [--compile]

FOLDER holds what `export_models.py` wrote. Contenders are CASE/eager, CASE/graph (a CUDA graph of it) and CASE/compile
(`torch.compile(mode="max-autotune")`); the output of each goes to FOLDER/CASE-WAY.npy. PyTorch gets its best: cuDNN
chooses by measuring, convolutions take the memory format that is faster. TF32 is off unless it is asked for.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timer_protocol
import torch
from torch_models import seeded_model

Call = Callable[[], Any]
# Calls before a CUDA graph is captured (cuDNN has chosen by then), and those that choose a memory format.
WARM_CALLS = 5
CHOOSING_CALLS = 20


class Runner:
    """Runs models on one device."""

    def __init__(self, device: str) -> None:
        self.device = device

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def waiting(self, run: Call) -> Call:
        """The call with a wait for the device at its end."""

        def call() -> Any:
            output = run()
            self.wait()
            return output

        return call

    def eager(self, module: Any, inputs: list[Any]) -> Call:
        return self.waiting(lambda: module(*inputs))

    def graph(self, module: Any, inputs: list[Any]) -> Call:
        """A replay of the captured call; its output is the same tensor each time.

        A graph holds addresses alone: the module and its inputs live as long as the call, or others get their memory.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_CALLS):
                module(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            output = module(*inputs)

        def replay(_kept: Any = (module, inputs)) -> Any:
            captured.replay()
            return output

        return self.waiting(replay)

    def compiled(self, module: Any, inputs: list[Any]) -> Call:
        return self.eager(torch.compile(module, mode="max-autotune"), inputs)


def open_case(runner: Runner, folder: Path, case: str, ways: list[str]) -> tuple[dict[str, Call], dict[str, Any]]:
    """The case's contenders by way, and what is to be said of them."""
    name, dtype = case.rsplit("-", 1)
    with np.load(folder / f"{case}.npz") as arrays:
        values = [torch.from_numpy(arrays[key]).to(runner.device) for key in arrays.files if key.startswith("in_")]
    module = seeded_model(name).module.to(runner.device, getattr(torch, dtype))
    formats = {"contiguous": torch.contiguous_format}
    if any(value.dim() == 4 for value in values):
        formats["channels_last"] = torch.channels_last
    makers = {"eager": runner.eager, "graph": runner.graph, "compile": runner.compiled}
    calls: dict[str, Call] = {}
    facts: dict[str, Any] = {}
    for way in ways:
        # Compiled code chooses its own layouts; compiling twice would take the check's time.
        choices = formats if way != "compile" else {"contiguous": torch.contiguous_format}
        try:
            made = {key: makers[way](*_laid_out(module, values, choices[key])) for key in choices}
            best = min(made, key=lambda key: float(np.median(timer_protocol.timed(made[key], CHOOSING_CALLS))))
            np.save(folder / f"{case}-{way}.npy", made[best]().float().cpu().numpy())
        except Exception as error:  # noqa: BLE001 - one way that fails here leaves the others, and says why
            facts[f"{case}/{way}"] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            continue
        calls[f"{case}/{way}"], facts[f"{case}/{way}"] = made[best], {"memory_format": best}
    return calls, facts


def _laid_out(module: Any, values: list[Any], memory_format: Any) -> tuple[Any, list[Any]]:
    """A copy of both: the other format's stays as it is."""
    own = copy.deepcopy(module).to(memory_format=memory_format)
    return own, [value.clone(memory_format=memory_format) if value.dim() == 4 else value for value in values]


def opened(given: argparse.Namespace) -> tuple[dict[str, Call], dict[str, Any]]:
    """Every case's contenders; among the facts, "versions"."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = given.allow_tf32
    torch.backends.cudnn.allow_tf32 = given.allow_tf32
    runner = Runner(given.device)
    ways = ["eager", *(["graph"] if given.device == "cuda" else []), *(["compile"] if given.compile else [])]
    calls: dict[str, Call] = {}
    facts: dict[str, Any] = {"versions": {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}}
    for case in given.cases.split(","):
        case_calls, case_facts = open_case(runner, given.folder, case, ways)
        calls |= case_calls
        facts |= case_facts
    return calls, facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--allow-tf32", action="store_true")
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    with torch.inference_mode():
        timer_protocol.serve(lambda: opened(given))


if __name__ == "__main__":
    main()
