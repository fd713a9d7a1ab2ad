"""What a vision tower sees of a face when everything but its features is painted out: what PuLID reads beside the identity."""
