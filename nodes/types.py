"""The pack's own socket types."""

from comfy_api.latest import io

FaceAnalysis = io.Custom("FACE_ANALYSIS")
FaceEmbeds = io.Custom("FACE_EMBEDS")
FaceID = io.Custom("FACEID")
InstantID = io.Custom("FACEGEN_INSTANTID")  # another pack's type is called INSTANTID, and is another thing
FaceStyle = io.Custom("FACE_STYLE")
SafetyChecker = io.Custom("SAFETY_CHECKER")
