# For `measure.sh` and `train.sh`, which read this file: if CARRIED_SITE names a folder that carry.py made, what it holds is
# unpacked, once, and Python finds it; so does COMFYUI_PATH, unless it is set.
if [[ -n ${CARRIED_SITE:-} ]]; then
    unpacked=${TMPDIR:-/tmp}/facegen-carried
    if [[ ! -e $unpacked/whole ]]; then
        mkdir -p "$unpacked/comfyui" "$unpacked/lacking" &&
            tar xf "$CARRIED_SITE/site.tar.xz" -C "$unpacked" &&
            tar xf "$CARRIED_SITE/comfyui.tar.xz" -C "$unpacked/comfyui" &&
            touch "$unpacked/whole" || exit
    fi
    export PYTHONPATH=$unpacked/site${PYTHONPATH:+:$PYTHONPATH} COMFYUI_PATH=${COMFYUI_PATH:-$unpacked/comfyui}
    libraries=$(ldconfig -p)
    for stub in "$unpacked"/stubs/*; do # a library that is there is taken, also by others than skia
        grep -qF "$(basename "$stub") " <<<"$libraries" || cp "$stub" "$unpacked/lacking/"
    done
    export LD_LIBRARY_PATH=$unpacked/lacking${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
