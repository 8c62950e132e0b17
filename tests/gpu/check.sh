#!/usr/bin/env bash
# Tunes a ResNet-18 and a small text encoder, in float32 and float16, for this machine's NVIDIA GPU, and times the packages
# against PyTorch on the same card. Meant to take under six minutes with 16 cores; no network. It leaves nothing running.
#
#     tests/gpu/check.sh [--trials-per-kernel 16] [--models resnet18,encoder] [--out DIR] [...]     # --help for all
#     tests/gpu/check.sh --python PYTHON --torch-python PYTHON [...]
#
# --python: the Python that has tunefarm (default: .venv's here, else the one of the `tunefarm` on PATH). --torch-python: the one
# that has PyTorch and onnx (default: python3); without them, SqueezeNet alone is tuned, nothing is compared, and the report says so.
# Results: check.json and check.txt in --out (default: ./gpu-check), with the logs. Exit code 1: a job failed, or outputs differ.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

python=()
torch_python=python3
given=()
while [ $# -gt 0 ]; do
    case $1 in
        --python) python=("${2:?--python needs a command}") && shift 2 ;;
        --torch-python) torch_python=${2:?--torch-python needs a command} && shift 2 ;;
        *) given+=("$1") && shift ;;
    esac
done
command=$(command -v tunefarm || true)
if [ ${#python[@]} -gt 0 ]; then
    :
elif [ -x "$root/.venv/bin/python" ]; then
    python=("$root/.venv/bin/python")
elif [ -n "$command" ] && head -n 1 "$command" | grep -q '^#!/.*python'; then
    python=("$(head -n 1 "$command" | cut -c 3-)")
elif [ -n "$command" ] && grep -q '^exec [^ ]*python' "$command"; then
    # A shell script that prepares the environment and ends in `exec PYTHON ...`: the same, with other arguments.
    python=(bash -c "$(sed 's/^exec \([^ ]*\) .*/exec \1 "$@"/' "$command")" tunefarm-python)
else
    echo "error: no Python with tunefarm: run \`make setup\`, or name one: --python PYTHON" >&2
    exit 2
fi
# PyTorch's Python keeps the environment that this script found: libraries and packages of one are poison to the other.
torch=(env "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}" "PYTHONPATH=${PYTHONPATH:-}" "$torch_python")

# TVM wants libcudart.so.13, and nvcc where NVRTC is missing; CUDA's toolkit has both, often on no path.
for cuda in /usr/local/cuda-13 /usr/local/cuda; do
    [ -e "$cuda/lib64/libcudart.so.13" ] || continue
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$cuda/lib64"
    command -v nvcc >/dev/null || export PATH="$PATH:$cuda/bin"
    break
done

# This folder and that of the other benchmarks come first on the path: the check is several short files.
program='import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; from gpu_check import main; main()'
exec "${python[@]}" -c "$program" "$here" "$root/tests/benchmarks" "${given[@]}" -- "${torch[@]}"
