#!/bin/bash
# Measures what users of a GPU feel, within LIMIT seconds (default 360), and prints one Markdown table last.
#
#   COMFYUI_PATH=…|CARRIED_SITE=… [PYTHON=python3] [OUT=folder] [LIMIT=360] bash tools/gpu/measure.sh [--small]
#
# CARRIED_SITE: what carry.py made. --small: small networks, on a CPU too. Each part has a limit of its own, and one that fails or hangs leaves the others alone.
# PARTS names those that are wanted, default: all. In $OUT: measure.md (the table), measure.jsonl (all figures), measure.log (what
# each part said), tests.xml.
set -u
cd "$(dirname "$0")/../.." || exit
# shellcheck source=site.sh
source tools/gpu/site.sh
: "${COMFYUI_PATH:?the folder of a ComfyUI}"
export COMFYUI_PATH PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore HF_HUB_OFFLINE=1
python=${PYTHON:-python3} limit=${LIMIT:-360} out=${OUT:-$(mktemp -d)}
reserve=0 slow=1 log=$out/measure.log figures=$out/measure.jsonl bench=tools/benchmarks
mkdir -p "$out"
rm -f "$out/quiet" "$figures"

part() { # part NAME SECONDS COMMAND…: says in the figures how it ended
    local name=$1 most=$2 began=$SECONDS rc
    shift 2
    ((most *= slow, most = most < limit - reserve - SECONDS ? most : limit - reserve - SECONDS))
    if ((most < 5)); then
        rc=124
        echo "== $name: no time left" | tee -a "$log"
    else
        echo "== $name" >>"$log"
        timeout -k 5 "$most" "$@" >"$out/$name.txt" 2>&1
        rc=$?
        cat "$out/$name.txt" >>"$log"
        echo "== $name: $((SECONDS - began)) s, exit status $rc (at $SECONDS s)"
        ((rc == 0)) || grep -v '^ *$' "$out/$name.txt" | tail -n 4
        rm -f "$out/$name.txt"
    fi
    printf '{"part": "ended", "name": "%s", "rc": %d, "took": %d}\n' "$name" "$rc" $((SECONDS - began)) >>"$figures"
}

overhead() { # overhead NAME SECONDS OPTIONS…
    part "$1" "$2" "$python" $bench/identity_overhead.py --json "$figures" "${@:3}"
}

if [[ ${1:-} == --small ]]; then
    slow=5 by=eager
    unet=(--channels 32 --size 8 --tokens 7 --repeat 2) flux=(--channels 128 --size 8 --tokens 7 --repeat 2)
    exact15=(--channels 32 --size 8 --tokens 7) exactxl=("${exact15[@]}") safety=(--small --batches 1 2 --rounds 1 --side 64)
    together=(--small --batches 2 --seconds 1 --queued 6)
else
    by=inductor
    unet=(--repeat 20) flux=(--channels 3072 --repeat 8)
    exact15=(--size 64) exactxl=(--channels 128 --size 64) safety=(--rounds 5)
    together=(--batches 2 4 8 --seconds 6 --queued 40)
fi
wanted=${PARTS:-machine faceid_sd15 faceid_sdxl instantid pulid_sdxl pulid_flux safety embedding together tests exactness compiled}
has() { [[ " $wanted " == *" $1 "* ]]; }

# One after the other: these are timed.
has machine && part machine 60 "$python" tools/gpu/machine.py "$figures" && tail -n 12 "$log"
has faceid_sd15 && overhead faceid_sd15 45 "${unet[@]}"
has faceid_sdxl && overhead faceid_sdxl 60 --base sdxl "${unet[@]}"
has instantid && overhead instantid 60 --method instantid "${unet[@]}"
has pulid_sdxl && overhead pulid_sdxl 60 --method pulid --base sdxl "${unet[@]}"
has pulid_flux && overhead pulid_flux 70 --method pulid "${flux[@]}"
has safety && part safety 45 "$python" $bench/safety_throughput.py --checkers concepts classifier --json "$figures" "${safety[@]}"
has embedding && part embedding 40 "$python" $bench/face_embedding.py --provider CUDA --json "$figures"
has together && part together 90 "$python" $bench/requests_together.py --json "$figures" "${together[@]}"

# At once: compiling takes long, and its clock starts when the others are done.
has compiled && overhead compiled 150 --compile "$by" --after "$out/quiet" "${unet[@]}" &
reserve=15 # for those figures
{
    has exactness && part exactness_sd15 60 "$python" $bench/half_precision.py --json "$figures" "${exact15[@]}"
    has exactness && part exactness_sdxl 60 "$python" $bench/half_precision.py --base sdxl --json "$figures" "${exactxl[@]}"
} &
exact=$!
has tests && part tests 120 "$python" -m pytest -v -p no:cacheprovider -rs --junitxml "$out/tests.xml" \
    tests/host/server/test_gpu.py tests/host/sampling/test_devices.py
wait $exact
touch "$out/quiet"
wait
rm -f "$out/quiet"

"$python" tools/gpu/table.py "$figures" "$out/tests.xml" | tee "$out/measure.md"
