"""The pack's own socket types."""

from comfy_api.latest import io

FaceAnalysis = io.Custom("FACE_ANALYSIS")
FaceEmbeds = io.Custom("FACE_EMBEDS")
FaceID = io.Custom("FACEID")
FaceStructure = io.Custom("FACE_STRUCTURE")
FaceStyle = io.Custom("FACE_STYLE")
PuLID = io.Custom("PULID")
SafetyChecker = io.Custom("SAFETY_CHECKER")
