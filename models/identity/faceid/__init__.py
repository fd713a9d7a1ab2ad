"""IP-Adapter-FaceID (https://github.com/tencent-ailab/IP-Adapter)."""
