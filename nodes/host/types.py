"""The pack's own socket types."""

from comfy_api.latest import io

FaceAnalysis = io.Custom("FACE_ANALYSIS")
FaceEmbeds = io.Custom("FACE_EMBEDS")
FaceID = io.Custom("FACEID")
FaceStructure = io.Custom("FACE_STRUCTURE")
InstantID = io.Custom("FACEGEN_INSTANTID")  # other packs have types called INSTANTID and PULID, which are other things
FaceStyle = io.Custom("FACE_STYLE")
PuLID = io.Custom("FACEGEN_PULID")
SafetyChecker = io.Custom("SAFETY_CHECKER")
