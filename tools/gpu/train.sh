#!/usr/bin/env bash
# Trains the tiny model on a machine with a GPU, 16 cores or so, PyTorch, and no network.
#
#   OUT=<folder for what comes back> tools/gpu/train.sh smoke              a few steps of every stage: does it run, what does a step cost
#   OUT=<folder for what comes back> tools/gpu/train.sh train MINUTES [PEOPLE]
#
# More options (--step-by-step, --seed) are passed on. WHEELS (default .whl) holds the wheels that the machine lacks (diffusers,
# importlib_metadata, skia-python), and in stubs/ empty libGL.so.1, libEGL.so.1 and libexpat.so.1: skia-python wants to find them,
# and the renderer calls none. OUT gets log.txt, model.tar.0 and .1 (cat model.tar.* | tar x), contact sheets and figures.json.
set -euo pipefail
: "${OUT:?is the folder for what comes back}"
cd "$(dirname "$0")/../.."
wheels=${WHEELS:-.whl} site=/tmp/tiny-site
began=$(date +%s)
say() { echo "$(($(date +%s) - began)) s: $*"; }

python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$wheels"/*.whl
export PYTHONPATH=$site PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
mkdir -p /tmp/tiny-stubs
libraries=$(ldconfig -p)
for stub in "$wheels"/stubs/*; do
    grep -qF "$(basename "$stub") " <<< "$libraries" || cp "$stub" /tmp/tiny-stubs/
done
python3 -c "import skia" 2>/dev/null || export LD_LIBRARY_PATH=/tmp/tiny-stubs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
python3 -c "import skia, diffusers, torch; print('torch', torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU')"

work=/tmp/tiny-work
free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -1 || echo 0)
[ "${free:-0}" -gt 20000000 ] && work=/dev/shm/tiny-work
command=(python3 tools/tiny_model --work "$work" --out /tmp/tiny --results "$OUT" --processes "$(($(nproc) > 1 ? $(nproc) - 1 : 1))")
case "${1:?smoke or train}" in
    smoke) shift && command+=(--smoke "$@") ;;
    train) command+=(--minutes "${2:?minutes}" --people "${3:-6000}") && shift "$(($# < 3 ? $# : 3))" && command+=("$@") ;;
    *) echo "smoke or train, not $1" >&2 && exit 2 ;;
esac
say "${command[*]}"
"${command[@]}" 2>&1 | while IFS= read -r line; do say "$line"; done | tee "$OUT/log.txt"
say "done"; ls -l "$OUT"
