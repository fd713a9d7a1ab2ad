#!/usr/bin/env bash
# Trains the tiny model on a machine with a GPU, 16 cores or so, PyTorch, and no network.
#
#   OUT=folder [CARRIED_SITE=folder] [CARRIED=folder] [PYTHON=python3] bash tools/gpu/train.sh smoke
#   OUT=folder … bash tools/gpu/train.sh train MINUTES [PEOPLE]
#
# smoke: a few steps of every stage: does it run, and what does a step cost? More options (--until, --step-by-step, --seed) are
# passed on. CARRIED_SITE: what carry.py made. CARRIED: checkpoints of another run, to go on with. OUT gets log.txt,
# checkpoints.*, model.tar.* (cat model.tar.* | tar x), contact sheets and figures.json. See README.md.
set -euo pipefail
: "${OUT:?is the folder for what comes back}"
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} began=$SECONDS
say() { echo "$((SECONDS - began)) s: $*"; }
mkdir -p "$OUT"
# shellcheck source=site.sh
source tools/gpu/site.sh
export PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
"$python" -c "import skia, diffusers, torch; print('torch', torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU')"

work=${TMPDIR:-/tmp}/tiny-work
free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -1 || echo 0)
[ "${free:-0}" -gt 20000000 ] && work=/dev/shm/tiny-work
cores=$(env -u OMP_NUM_THREADS nproc) # that variable is for one process, and here are many
command=("$python" tools/tiny_model --work "$work" --out "${TMPDIR:-/tmp}/tiny" --results "$OUT")
command+=(--processes "$((cores > 1 ? cores - 1 : 1))")
[ -n "${CARRIED:-}" ] && command+=(--carried "$CARRIED")
case "${1:?smoke or train}" in
    smoke) shift && command+=(--smoke "$@") ;;
    train) command+=(--minutes "${2:?minutes}" --people "${3:-6000}") && shift "$(($# < 3 ? $# : 3))" && command+=("$@") ;;
    *) echo "smoke or train, not $1" >&2 && exit 2 ;;
esac
say "${command[*]}"
"${command[@]}" 2>&1 | while IFS= read -r line; do say "$line"; done | tee "$OUT/log.txt"
say "done"
ls -l "$OUT"
