#!/usr/bin/env bash
# Packs this checkout and its .venv for an x86-64 machine with an NVIDIA GPU and CUDA 13's toolkit, but no network and no Python
# of ours: for `check.sh` there.
#
#     tests/gpu/bundle.sh FOLDER [MEGABYTES]      # FOLDER/part0, part1, ... of at most so many (default: 60), and enter.sh
#
# There, with the parts in one folder: `. enter.sh`, which unpacks them beside itself (a minute of all cores, once), and puts
# `tunefarm` and `tunefarm-agent` on the PATH; then `tunefarm-gpu/source/tests/gpu/check.sh --commit "$(cat tunefarm-gpu/COMMIT)"`.
# NVRTC and the headers are the toolkit's: half of the environment's size stays here.
set -euo pipefail
out=$(mkdir -p "${1:?the folder for the parts}" && cd "$1" && pwd)
megabytes=${2:-60}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || { echo "error: no .venv here: run \`make setup\`" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/tunefarm-gpu
mkdir -p "$stage"/{python,site,source,libs}
git -C "$root" rev-parse --short HEAD >"$stage/COMMIT"
base=$("$python" -c 'import sys; print(sys.base_prefix)')
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Python itself, without what tests and windows need.
(cd "$base" && tar c --exclude=site-packages --exclude=test --exclude=__pycache__ --exclude='*.a' --exclude=idlelib --exclude=tkinter \
    --exclude=ensurepip bin/python3.11 lib/python3.11 $(ls -d lib/libpython3* 2>/dev/null || true)) | tar x -C "$stage/python"
# The environment, without what only tests, linters, Java and other parts of Ray need. (Libraries are not stripped: patched ones break.)
(cd "$site" && tar c --exclude=__pycache__ --exclude='./mypy*' --exclude='./*__mypyc*' --exclude=./grpc_tools --exclude=./ruff \
    --exclude=./hypothesis --exclude='./psycopg*' --exclude=./pip --exclude='./pip-*' --exclude=./setuptools --exclude='./_pytest' \
    --exclude='./ray/jars' --exclude='./ray/cpp' --exclude='./ray/dashboard/client' --exclude='./ray/rllib' --exclude='./ray/serve' \
    --exclude='./ray/data' --exclude='./ray/tune' --exclude='./ray/train' --exclude='./ray/llm' --exclude=./tvm/3rdparty \
    --exclude='./nvidia/*/lib/libnvrtc*' --exclude='./nvidia/*/include' --exclude='./onnx/backend/test/data' \
    --exclude='./*/*/tests' --exclude='*.pyi' --exclude='*.pyx' --exclude='*.pxd' --exclude='*.a' --exclude='*.cpp' .) | tar x -C "$stage/site"
git -C "$root" archive HEAD proto client coordinator agents tests pyproject.toml | tar x -C "$stage/source"
# What this Python links to and a bare machine may lack.
for name in sqlite3.so.0 readline.so.8 ssl.so.3 crypto.so.3 ffi.so.8 uuid.so.1 ncursesw.so.6 panelw.so.6 tinfo.so.6 lzma.so.5 nsl.so.2 tirpc.so.3; do
    path=$(ldconfig -p | awk -v n="lib$name" '$1 == n && !found { print $NF; found = 1 }')
    [ -z "$path" ] || cp -L "$path" "$stage/libs/"
done
echo "== compressing $(du -sm "$stage" | cut -f 1) MB: some minutes"
rm -f "$out"/part*
tar c -C "$work" tunefarm-gpu | xz -T0 -2 | split -b "${megabytes}000000" -d -a 1 - "$out/part"
cp "$root/tests/gpu/enter.sh" "$out/enter.sh"
ls -l "$out"
