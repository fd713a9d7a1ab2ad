"""InsightFace model packs: which there are, which can be had, and one running in ONNX Runtime."""
