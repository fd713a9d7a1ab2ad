"""A face analysis, and all that the sampler node needs, made by the nodes."""

import pytest
import torch


@pytest.fixture(scope="session")
def face_analysis(run):
    return run("FaceGenLoadFaceAnalyzer", model_pack="buffalo_l")[0]


@pytest.fixture(scope="session")
def parts(run, checkpoint, clip_vision, face_analysis):
    """Inputs of the sampler node: model, clip, vae, faceid and face_embeds, which are the astronaut's."""
    from skimage import data

    model, clip, vae = checkpoint
    photo = torch.from_numpy(data.astronaut()).float()[None] / 255
    face_embeds = run("FaceGenEmbedFace", face_analysis=face_analysis, image=photo, clip_vision=clip_vision)[0]
    faceid = run("FaceGenLoadFaceID", faceid_file="ip-adapter-faceid-plusv2_sd15.bin")[0]
    return {"model": model, "clip": clip, "vae": vae, "faceid": faceid, "face_embeds": face_embeds}
