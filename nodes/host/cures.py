"""What to do in ComfyUI about errors that several nodes can meet: kind of error -> advice, for `errors.advise`."""

from ...errors import (
    AlphaChannelError,
    BadPicturesError,
    BrokenModelPackError,
    BrokenNudeNetError,
    Cures,
    MissingLibraryError,
    MissingNudeNetError,
    NoPicturesError,
    NotFiniteError,
    NoVerdictError,
    OneChannelError,
    WrongRecogniserError,
)

# The first entry that fits counts, so the general kind comes last.
PICTURES: Cures = {
    AlphaChannelError: "Put a Split Image with Alpha node in between.",
    OneChannelError: "For a mask, put a Convert Mask to Image node in between. For one channel, use Convert Image to Mask "
    "(channel red) and then Convert Mask to Image, which gives RGB.",
    NoPicturesError: "Check the node that made it.",
    NotFiniteError: "Use another VAE, or start ComfyUI with --fp32-vae.",
    BadPicturesError: "Connect an IMAGE such as Load Image gives.",
}
CHECKER: Cures = {
    NoVerdictError: "With nudenet, choose provider CPU on Load Safety Checker. For another checker, get its files again.",
}
NUDENET: Cures = {
    MissingNudeNetError: "Run `pip install -U nudenet` with ComfyUI's own Python, then restart.",
    BrokenNudeNetError: "Run `pip install --force-reinstall nudenet` with ComfyUI's own Python, then restart; or choose "
    "provider CPU.",
}
INSIGHTFACE: Cures = {MissingLibraryError: "Install it into ComfyUI's Python:"}  # how is among the error's details
FACE_PACK: Cures = {BrokenModelPackError: "If this happens with every picture, download the pack again."}
RECOGNISER: Cures = {
    WrongRecogniserError: "Embed the photo again with a model pack that holds it: choose the pack in Load Face Analyzer.",
}
