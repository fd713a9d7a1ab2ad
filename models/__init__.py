"""What is computed: faces, FaceID, styles, safety. No ComfyUI in here."""
