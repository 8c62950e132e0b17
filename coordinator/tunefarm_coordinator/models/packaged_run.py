"""Runs the model in this folder. Needs TVM's runtime and NumPy alone:

    TVM_USE_RUNTIME_LIB=1 python run.py                                    on the inputs beside it, and times it
    TVM_USE_RUNTIME_LIB=1 python run.py --inputs IN.npz --outputs OUT.npz  on yours, arrays by the inputs' names

In a program of yours:

    from run import Model
    outputs = Model("this folder")({"x": array})                           # arrays by name, in and out

A package for several sets of input shapes has a library for each: the inputs' shapes choose. Inputs that may be padded
(`padding` in manifest.json: value by name) may be smaller than a set: they are padded at their ends to the next one
that they fit. What that adds to an output is cut off where it is known: along an axis that the ONNX file calls by the
name of a padded one (`equal_axes` in manifest.json), or that is the same multiple of it in every set. Elsewhere the
output stays as the padded input made it. A model that does not mask what is padded answers differently than it would
without: its user has to know that it does, or that it is no matter.

Where the end of a model can't be compiled (`tail` in manifest.json), ONNX Runtime runs it after the network; it has to
be installed (pip install onnxruntime).
"""

import argparse
import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.runtime.vm import VirtualMachine

CUDA_RUNTIME = "libcudart.so.13"
CPU = 1  # as DLPack numbers kinds of devices
# A latency: the median of as many calls, or of as many as fill the seconds, after ones that warm up.
CALLS, SECONDS, WARM_UP_SECONDS = 5, 0.2, 0.05
SAMPLE_FILE = "inputs.npz"

# What the manifest says of a set: its inputs and outputs, each with name, dtype and shape.
Set = Mapping[str, Any]
Shape = tuple[int, ...]
# Of each output its name, and what of it is wanted.
Cuts = tuple[tuple[str, tuple[slice, ...]], ...]


class CannotRun(Exception):
    """What is missing here, or wrong with the inputs, and what there is."""


class Model:
    """The model in a folder that tunefarm wrote; called with its inputs by name, it gives its outputs by name.

    One call at a time: each set has one place for its inputs.

    Attributes:
        sets: of each set of input shapes, `inputs` and `outputs`, each with name, dtype and shape.
        padding: value by name of the inputs that may be smaller than a set.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises CannotRun where the device that it was compiled for is not there."""
        self._folder = Path(folder)
        manifest = json.loads((self._folder / "manifest.json").read_text())
        use_cores(manifest["target"])
        self.device = device_for(manifest["target"]["kind"])
        self.sets: list[Set] = manifest.get("shape_sets") or [manifest]
        self.padding: dict[str, float] = manifest.get("padding", {})
        self._equal: list[Mapping[str, Any]] = manifest.get("equal_axes", [])
        self._machines: dict[int, VirtualMachine] = {}
        self._entries: dict[int, Callable[..., Any]] = {}
        self._places: dict[int, list[tuple[Any, NDArray[Any] | None]]] = {}
        self._plans: dict[tuple[tuple[str, Shape], ...], tuple[int, Cuts]] = {}
        self._tails: dict[int, Any] = {}

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Raises CannotRun for inputs that no set fits, and for ones of another kind of numbers."""
        given = {name: np.asarray(value) for name, value in inputs.items()}
        at, cuts = self._plan(given)
        found = self._run(at, cuts, given)
        return self.completed(at, given, found) if "tail" in self.sets[at] else found

    def network(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What the compiled network makes of the inputs: copied in, and its outputs copied out. Raises CannotRun."""
        return self._run(*self._plan(inputs), inputs)

    def _run(self, at: int, cuts: Cuts, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        places = self.places(at)
        for spec, (tensor, window) in zip(self.sets[at]["inputs"], places, strict=True):
            value = inputs[spec["name"]]
            if window is None:
                tensor.copyfrom(self._prepared(spec, value))
            elif value.dtype == window.dtype and value.shape == window.shape:
                window[...] = value
            else:
                window[...] = self._prepared(spec, value)
        values = as_list(self._entry(at)(*(tensor for tensor, _ in places)))
        return {name: read(value, cut) for (name, cut), value in zip(cuts, values, strict=True)}

    def _entry(self, at: int) -> Callable[..., Any]:
        """The set's `main`. Kept: TVM looks it up by name."""
        if at not in self._entries:
            self._entries[at] = self.machine(at)["main"]
        return self._entries[at]

    def _plan(self, given: Mapping[str, NDArray[Any]]) -> tuple[int, Cuts]:
        """The set for inputs of these shapes, and of each output its name and what of it is wanted. Kept: next to a
        network of a tenth of a millisecond it takes long."""
        key = tuple((name, value.shape) for name, value in given.items())
        if key not in self._plans:
            shapes = dict(key)
            at = chosen(self.sets, self.padding, shapes)
            sizes = output_shapes(self.sets, at, shapes, self._equal)
            names = [spec["name"] for spec in self.sets[at]["outputs"]]
            cuts = [tuple(slice(size) for size in shape) for shape in sizes]
            self._plans[key] = at, tuple(zip(names, cuts, strict=True))
        return self._plans[key]

    def completed(self, at: int, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """The whole model's outputs, from its inputs and what the network of the set made of them."""
        tail = self.tail(at)
        given = {**inputs, **values}
        names = [output.name for output in tail.get_outputs()]
        found = dict(zip(names, tail.run(names, {it.name: given[it.name] for it in tail.get_inputs()}), strict=True))
        return {name: found[name] if name in found else values[name] for name in self.sets[at]["tail"]["outputs"]}

    def tail(self, at: int = 0) -> Any:
        """ONNX Runtime's session with the end of the set's model. Raises CannotRun where there is no ONNX Runtime."""
        if at not in self._tails:
            try:
                import onnxruntime
            except ImportError as error:
                raise CannotRun("the end of this model is run by ONNX Runtime: pip install onnxruntime") from error
            file = str(self._folder / self.sets[at]["tail"]["file"])
            self._tails[at] = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return self._tails[at]

    def machine(self, at: int = 0) -> VirtualMachine:
        """TVM's virtual machine with the library of the set, its entry `main`."""
        if at not in self._machines:
            library = tvm.runtime.load_module(str(self._folder / self.sets[at]["library"]))
            self._machines[at] = VirtualMachine(library, self.device)
        return self._machines[at]

    def places(self, at: int = 0) -> list[tuple[Any, NDArray[Any] | None]]:
        """Of each input of the set a tensor on the device, made once, and NumPy's window on it where there is one."""
        if at not in self._places:
            specs = self.sets[at]["inputs"]
            tensors = [tvm.runtime.empty(tuple(spec["shape"]), spec["dtype"], self.device) for spec in specs]
            self._places[at] = [(tensor, window_on(tensor)) for tensor in tensors]
        return self._places[at]

    def sample(self, at: int = 0) -> dict[str, NDArray[Any]]:
        """Inputs for the set: those that it was benchmarked with, random ones where there are none."""
        path = (self._folder / self.sets[at]["library"]).with_name(SAMPLE_FILE)
        if path.exists():
            return read_arrays(path)
        generator = np.random.default_rng(0)
        return {spec["name"]: random_input(generator, spec) for spec in self.sets[at]["inputs"]}

    def _prepared(self, spec: Mapping[str, Any], value: NDArray[Any]) -> NDArray[Any]:
        try:
            value = as_numbers(value, spec["dtype"])
        except TypeError as error:
            raise CannotRun(f"input {spec['name']!r} is {spec['dtype']}, not {value.dtype}") from error
        return padded(value, tuple(spec["shape"]), self.padding.get(spec["name"], 0))


def use_cores(target: Mapping[str, Any]) -> None:
    """As many of TVM's threads as the model was tuned for, no more than there are cores. TVM by itself takes half of an
    x86 CPU's cores for threads of the other half, and pins to the first ones, whichever this process may use.

    TVM_NUM_THREADS, OMP_NUM_THREADS and TVM_BIND_THREADS go before. Too late where TVM's threads run already.
    """
    host = os.cpu_count() or 1
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else host
    if target["kind"] != "llvm" or "OMP_NUM_THREADS" in os.environ:
        return
    os.environ.setdefault("TVM_NUM_THREADS", str(min(there, int(target.get("num-cores") or there))))
    os.environ.setdefault("TVM_BIND_THREADS", "1" if there == host else "0")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name; bfloat16 and floats of 8 bits lie there as `storable` made them."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: value.view(value.dtype.names[0]) if value.dtype.names else value for name, value in arrays.items()}


def storable(value: NDArray[Any]) -> NDArray[Any]:
    """The array as NumPy's format keeps it: of a type that it does not know, a structure whose one field is called as
    the type (`array.view(array.dtype.names[0])` is the array again)."""
    return value.view([(value.dtype.name, f"u{value.dtype.itemsize}")]) if value.dtype.isbuiltin == 2 else value


def as_numbers(value: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The array in the dtype, if it is of its kind. Floats become bfloat16; plain bytes, as `numpy.savez` makes them
    of what it doesn't know, are taken as the dtype. Raises TypeError."""
    wanted = np.dtype(dtype)
    if value.dtype.kind == "V" and value.dtype.isbuiltin != 2 and value.dtype.itemsize == wanted.itemsize:
        value = value.view(wanted)
    narrows = wanted.isbuiltin == 2 and value.dtype.kind == "f"
    return value.astype(wanted, order="C", casting="unsafe" if narrows else "same_kind", copy=False)


def chosen(sets: Sequence[Set], padding: Mapping[str, float], shapes: Mapping[str, Shape]) -> int:
    """Number of the set that the inputs' shapes are those of, or else of the smallest to which they can be padded.

    Raises CannotRun if there is none, or if an input is missing or unknown.
    """
    names = {spec["name"] for spec in sets[0]["inputs"]}
    if names != shapes.keys():
        raise CannotRun(f"the inputs are {', '.join(sorted(names))}, not {', '.join(sorted(shapes)) or 'none'}")
    fitting = [at for at, each in enumerate(sets) if all(_fits(spec, padding, shapes) for spec in each["inputs"])]
    if not fitting:
        there = " or ".join(_described(_shapes(each)) for each in sets)
        may = f" ({', '.join(sorted(padding))} may be smaller)" if padding else ""
        raise CannotRun(f"this package is for {there}{may}, not for {_described(shapes)}")
    exact = [at for at in fitting if _shapes(sets[at]) == dict(shapes)]
    return exact[0] if exact else min(fitting, key=lambda at: sum(map(_elements, _shapes(sets[at]).values())))


def padded(value: NDArray[Any], shape: Shape, fill: float) -> NDArray[Any]:
    """The value, with `fill` at the end of each axis that is shorter than `shape` has it."""
    if value.shape == shape:
        return value
    whole = np.full(shape, fill, value.dtype)
    whole[tuple(slice(size) for size in value.shape)] = value
    return whole


def output_shapes(
    sets: Sequence[Set], at: int, shapes: Mapping[str, Shape], equal: Sequence[Mapping[str, Any]] = ()
) -> list[Shape]:
    """What of each output of set `at` is left once that is cut off which comes of padding inputs of these `shapes`.
    `equal`: the axes of outputs that are as long as one of an input, whatever the set."""
    return [
        tuple(_size(sets, at, shapes, equal, output, axis) for axis in range(len(spec["shape"])))
        for output, spec in enumerate(sets[at]["outputs"])
    ]


def _size(
    sets: Sequence[Set],
    at: int,
    shapes: Mapping[str, Shape],
    equal: Sequence[Mapping[str, Any]],
    output: int,
    axis: int,
) -> int:
    """An output's size along an axis: cut where all input axes that it follows say the same whole number."""
    sizes = [_axis(each["outputs"][output], axis) for each in sets]
    inputs = {spec["name"]: number for number, spec in enumerate(sets[at]["inputs"])}
    pairs = [
        (pair["input"], pair["along"])
        for pair in equal
        if (pair["output"], pair["axis"]) == (sets[at]["outputs"][output]["name"], axis) and pair["input"] in inputs
    ]
    if not pairs and len(set(sizes)) > 1:
        pairs = [(name, along) for name in inputs for along in range(len(shapes[name]))]
    said = set()
    for name, along in pairs:
        of_input = [_axis(each["inputs"][inputs[name]], along) for each in sets]
        if of_input[at] and all(size * of_input[at] == sizes[at] * n for size, n in zip(sizes, of_input, strict=True)):
            said.add(shapes[name][along] * sizes[at] / of_input[at])
    size = said.pop() if len(said) == 1 else sizes[at]
    return int(size) if float(size).is_integer() else sizes[at]


def _axis(spec: Mapping[str, Any], axis: int) -> int:
    """Size along the axis; 0 where there is no such axis."""
    shape = spec["shape"]
    return int(shape[axis]) if axis < len(shape) else 0


def _fits(spec: Mapping[str, Any], padding: Mapping[str, float], shapes: Mapping[str, Shape]) -> bool:
    wanted, given = tuple(spec["shape"]), shapes[spec["name"]]
    if wanted == given or spec["name"] not in padding:
        return wanted == given
    return len(wanted) == len(given) and all(0 < size <= most for size, most in zip(given, wanted, strict=True))


def _shapes(each: Set) -> dict[str, Shape]:
    return {spec["name"]: tuple(spec["shape"]) for spec in each["inputs"]}


def _described(shapes: Mapping[str, Shape]) -> str:
    return " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in sorted(shapes.items()))


def _elements(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64))


def as_list(outputs: Any) -> list[Any]:
    """One output comes by itself, several as an array."""
    return [outputs] if hasattr(outputs, "shape") else list(outputs)


def window_on(tensor: Any) -> NDArray[Any] | None:
    """The tensor's own memory as an array, which costs a tenth of TVM's copies of small ones. None where NumPy can't
    have it: on other devices than the CPU, of types that it does not know."""
    if tensor.__dlpack_device__()[0] != CPU:
        return None
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError):
        return None


def read(tensor: Any, wanted: tuple[slice, ...]) -> NDArray[Any]:
    """A copy of what is wanted of the tensor."""
    window = window_on(tensor)
    return np.array((tensor.numpy() if window is None else window)[wanted])


def load_cuda() -> None:
    """TVM's CUDA runtime, which a TVM that is runtime only leaves to its host program to load."""
    folder = Path(tvm.__file__).parent / "lib"
    # Where CUDA's own runtime came as a Python package, it lies on no path that the linker searches.
    packaged = map(str, sorted(folder.parents[1].glob(f"nvidia/*/lib/{CUDA_RUNTIME}")))
    for library in (CUDA_RUNTIME, *packaged):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
            break
    try:
        ctypes.CDLL(str(folder / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise CannotRun(
            f"CUDA can't be loaded: {error}. This model needs NVIDIA's driver (libcuda.so.1) and CUDA's runtime "
            f"of major version 13 ({CUDA_RUNTIME}: CUDA's toolkit on LD_LIBRARY_PATH, or its Python package)"
        ) from error


def device_for(kind: str) -> Any:
    """The device that code for this kind of target runs on."""
    with contextlib.suppress(OSError):
        # Sorting and TopK, which a TVM that is runtime only leaves to its host program to load.
        ctypes.CDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime_extra.so"), ctypes.RTLD_GLOBAL)
    if kind == "cuda":
        load_cuda()
    device = tvm.runtime.device("cpu" if kind == "llvm" else kind, 0)
    if not device.exist:
        raise CannotRun(f"this model is for {kind}, and there is no such device here (nvidia-smi lists GPUs that work)")
    return device


def random_input(generator: np.random.Generator, spec: Mapping[str, Any]) -> NDArray[Any]:
    integral = np.dtype(spec["dtype"]).kind in "iub"
    values = generator.integers(0, 2, spec["shape"]) if integral else generator.standard_normal(spec["shape"])
    return np.asarray(values).astype(spec["dtype"])


def median_ms(call: Callable[[], object]) -> str:
    """How long a call takes where one follows another, in words."""
    warm_at = time.perf_counter() + WARM_UP_SECONDS
    while time.perf_counter() < warm_at:
        call()
    seconds: list[float] = []
    ends_at = time.perf_counter() + SECONDS
    while len(seconds) < CALLS or time.perf_counter() < ends_at:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return f"{1e3 * float(np.median(seconds)):.3f} ms (median of {len(seconds)})"


def time_set(model: Model, at: int) -> None:
    """Runs one set on its sample; prints its outputs, the first call's seconds and the latency."""
    arrays = model.sample(at)
    started = time.perf_counter()
    found = model(arrays)
    first = time.perf_counter() - started
    for name, value in found.items():
        print(f"{name}: {np.asarray(value).dtype} {np.shape(value)}")
    print(f"first call, the library's loading included: {first * 1e3:.3f} ms")
    print(f"latency: {median_ms(lambda: model.network(arrays))}")
    if "tail" in model.sets[at]:
        values = model.network(arrays)
        print(f"and the end of the model: {median_ms(lambda: model.completed(at, arrays, values))}")


def run_files(model: Model, inputs: Path, outputs: Path | None) -> None:
    """Runs the model on the arrays of a file; prints its outputs' shapes, and writes them to a file if one is named."""
    found = model(read_arrays(inputs))
    for name, value in found.items():
        print(f"{name}: {value.dtype} {value.shape}")
    if outputs is not None:
        arrays: dict[str, Any] = {name: storable(value) for name, value in found.items()}
        np.savez(outputs, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, metavar="IN.npz", help="arrays by the inputs' names")
    parser.add_argument("--outputs", type=Path, metavar="OUT.npz", help="where the outputs go, with --inputs")
    given = parser.parse_args()
    try:
        model = Model(Path(__file__).resolve().parent)
        if given.inputs is not None:
            run_files(model, given.inputs, given.outputs)
            return
        for at, each in enumerate(model.sets):
            if len(model.sets) > 1:
                print(_described(_shapes(each)))
            time_set(model, at)
    except CannotRun as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
