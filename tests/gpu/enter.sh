# To be sourced beside the parts that bundle.sh made: unpacks them once, and puts tunefarm's commands on the PATH.
tunefarm_gpu=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/tunefarm-gpu
if [ ! -d "$tunefarm_gpu/bin" ]; then
    cat "${tunefarm_gpu%/*}"/part? | xz -dc -T0 | tar x -C "${tunefarm_gpu%/*}"
    # Without compiled bytecode every worker would make its own at its start, all at once.
    LD_LIBRARY_PATH=$tunefarm_gpu/python/lib:$tunefarm_gpu/libs "$tunefarm_gpu/python/bin/python3.11" -m compileall -q -j 0 \
        "$tunefarm_gpu/site" "$tunefarm_gpu/python/lib/python3.11" "$tunefarm_gpu"/source/{proto,client,coordinator,agents} >/dev/null || true
    mkdir -p "$tunefarm_gpu/bin"
    for pair in tunefarm=tunefarm.cli tunefarm-agent=tunefarm_agent.__main__; do
        cat >"$tunefarm_gpu/bin/${pair%%=*}" <<WRAPPER
#!/usr/bin/env bash
export LD_LIBRARY_PATH=$tunefarm_gpu/python/lib:$tunefarm_gpu/libs:\${LD_LIBRARY_PATH:-}
export PYTHONPATH=$tunefarm_gpu/site:$tunefarm_gpu/source/proto:$tunefarm_gpu/source/client:$tunefarm_gpu/source/coordinator:$tunefarm_gpu/source/agents
exec $tunefarm_gpu/python/bin/python3.11 -c 'import sys; from ${pair#*=} import main; sys.argv[0] = "${pair%%=*}"; main()' "\$@"
WRAPPER
        chmod +x "$tunefarm_gpu/bin/${pair%%=*}"
    done
    # Measuring processes are not root.
    chmod -R a+rX "$tunefarm_gpu"
fi
export PATH=$tunefarm_gpu/bin:/usr/local/cuda/bin:$PATH
