"""Graphs as people have saved them with other packs' nodes: the packs' ids and widget orders, and stock nodes around them."""

from facegen.adoption.which import OLD

# Stock node -> its inputs that are connected (name -> type), its outputs' types, its widgets (None: only the front end's).
STOCK = {
    "CheckpointLoaderSimple": ({}, ["MODEL", "CLIP", "VAE"], ["ckpt_name"]),
    "LoadImage": ({}, ["IMAGE", "MASK"], ["image"]),
    "CLIPTextEncode": ({"clip": "CLIP"}, ["CONDITIONING"], ["text"]),
    "EmptyLatentImage": ({}, ["LATENT"], ["width", "height", "batch_size"]),
    "KSampler": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        ["LATENT"],
        ["seed", None, "steps", "cfg", "sampler_name", "scheduler", "denoise"],
    ),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, ["IMAGE"], []),
    "SaveImage": ({"images": "IMAGE"}, [], ["filename_prefix"]),
    "CLIPVisionLoader": ({}, ["CLIP_VISION"], ["clip_name"]),
    "ControlNetLoader": ({}, ["CONTROL_NET"], ["control_net_name"]),
    "PreviewImage": ({"images": "IMAGE"}, [], []),
    "Reroute": ({"": "*"}, ["*"], []),
    "Note": ({}, [], []),
    "IPAdapterUnifiedLoader": ({}, ["MODEL", "IPADAPTER"], []),
    "UNETLoader": ({}, ["MODEL"], ["unet_name", "weight_dtype"]),
    "DualCLIPLoader": ({}, ["CLIP"], ["clip_name1", "clip_name2", "type"]),
    "VAELoader": ({}, ["VAE"], ["vae_name"]),
    "FluxGuidance": ({"conditioning": "CONDITIONING"}, ["CONDITIONING"], ["guidance"]),
    "BasicGuider": ({"model": "MODEL", "conditioning": "CONDITIONING"}, ["GUIDER"], []),
    "RandomNoise": ({}, ["NOISE"], ["noise_seed", None]),
    "KSamplerSelect": ({}, ["SAMPLER"], ["sampler_name"]),
    "BasicScheduler": ({"model": "MODEL"}, ["SIGMAS"], ["scheduler", "steps", "denoise"]),
    "SamplerCustomAdvanced": (
        {"noise": "NOISE", "guider": "GUIDER", "sampler": "SAMPLER", "sigmas": "SIGMAS", "latent_image": "LATENT"},
        ["LATENT", "LATENT"],
        [],
    ),
}
PACK = {"cnr_id": "comfyui_ipadapter_plus", "ver": "a0f451a5113cf9becb0847b92884cb10cbdec0ef"}
WEIGHT = [0.8, 1.3, "linear", "concat", 0.0, 1.0, "V only"]  # IPAdapterFaceID's widgets


def saved(*nodes):
    """A graph as the front end saves it, of (type, {input: (number, slot)}, widgets), which are numbered from 1."""
    graph = {"last_node_id": len(nodes), "last_link_id": 0, "nodes": [], "links": [], "groups": [], "config": {}, "extra": {}}
    for number, (kind, _, widgets) in enumerate(nodes, start=1):
        graph["nodes"].append(_node(number, kind, widgets))
    for number, (_, sources, _) in enumerate(nodes, start=1):
        for name, source in sources.items():
            _connect(graph, source, number, name)
    return graph | {"version": 0.4}


def _node(number, kind, widgets):
    old = OLD.get(kind)
    inputs, outputs = STOCK[kind][:2] if old is None else _sockets(old)
    node = {"id": number, "type": kind, "pos": [400 * (number % 4), 350 * (number // 4)], "size": [315, 300], "flags": {}}
    node |= {"order": number - 1, "mode": 0, "inputs": [{"name": n, "type": t, "link": None} for n, t in inputs.items()]}
    node["outputs"] = [{"name": t, "type": t, "links": [], "slot_index": slot} for slot, t in enumerate(outputs)]
    node["properties"] = {"Node name for S&R": kind, **({} if old is None else PACK)}
    return node | {"widgets_values": list(widgets)}


def _sockets(old):
    return {one.name: one.kind for one in old.inputs if one not in old.widgets}, [one.kind for one in old.outputs]


def _connect(graph, source, target, name):
    nodes = {node["id"]: node for node in graph["nodes"]}
    slot = [one["name"] for one in nodes[target]["inputs"]].index(name)
    graph["last_link_id"] = number = graph["last_link_id"] + 1
    output = nodes[source[0]]["outputs"][source[1]]
    graph["links"].append([number, *source, target, slot, output["type"]])
    output["links"].append(number)
    nodes[target]["inputs"][slot]["link"] = number


def portrait(middle, model, size=128, steps=2):
    """A whole graph: checkpoint 1, photo 2, then `middle`, which makes the `model` (number, slot), then sampling and saving."""
    first = [("CheckpointLoaderSimple", {}, ["sd15.safetensors"]), ("LoadImage", {}, ["face.jpg", "image"])]
    n = len(first) + len(middle)
    return saved(
        *first,
        *middle,
        ("CLIPTextEncode", {"clip": (1, 1)}, ["a portrait"]),
        ("CLIPTextEncode", {"clip": (1, 1)}, ["blurry"]),
        ("EmptyLatentImage", {}, [size, size, 1]),
        (
            "KSampler",
            {"model": model, "positive": (n + 1, 0), "negative": (n + 2, 0), "latent_image": (n + 3, 0)},
            [7, "fixed", steps, 5.0, "euler", "normal", 1.0],
        ),
        ("VAEDecode", {"samples": (n + 4, 0), "vae": (1, 2)}, []),
        ("SaveImage", {"images": (n + 5, 0)}, ["adopted"]),
    )


def by_preset(preset="FACEID PLUS V2", widgets=WEIGHT, **options):
    """Loaded by the unified loader: 3, applied by 4."""
    return portrait(
        [
            ("IPAdapterUnifiedLoaderFaceID", {"model": (1, 0)}, [preset, 0.6, "CPU"]),
            ("IPAdapterFaceID", {"model": (3, 0), "ipadapter": (3, 1), "image": (2, 0)}, widgets),
        ],
        (4, 0),
        **options,
    )


def by_preset_older(weight=0.8):
    """As it was saved before the node gave out the face and asked for embeds_scaling."""
    graph = by_preset(widgets=[weight, *WEIGHT[1:6]])
    del graph["nodes"][3]["outputs"][1]
    return graph


def by_parts(file="ip-adapter-faceid-plusv2_sd15.bin", widgets=WEIGHT, **options):
    """Loaded by a node for each part: adapter 3, InsightFace 4, CLIP vision 5; applied by 6."""
    sources = {"model": (1, 0), "ipadapter": (3, 0), "image": (2, 0), "clip_vision": (5, 0), "insightface": (4, 0)}
    return portrait(
        [
            ("IPAdapterModelLoader", {}, [file]),
            ("IPAdapterInsightFaceLoader", {}, ["CPU", "buffalo_l"]),
            ("CLIPVisionLoader", {}, ["vit_l.safetensors"]),
            ("IPAdapterFaceID", sources, widgets),
        ],
        (6, 0),
        **options,
    )


def first_faceid(weight=0.7, weight_type="original", v2=1.0):
    """As the pack's first releases had it: adapter 3, InsightFace 4, CLIP vision 5; applied by 6."""
    sources = {"ipadapter": (3, 0), "clip_vision": (5, 0), "insightface": (4, 0), "image": (2, 0), "model": (1, 0)}
    return portrait(
        [
            ("IPAdapterModelLoader", {}, ["ip-adapter-faceid-plusv2_sd15.bin"]),
            ("InsightFaceLoader", {}, ["CPU"]),
            ("CLIPVisionLoader", {}, ["vit_l.safetensors"]),
            ("IPAdapterApplyFaceID", sources, [weight, 0.25, weight_type, 0.0, 1.0, True, v2, False]),
        ],
        (6, 0),
    )


def instantid(
    checkpoint="sdxl.ckpt",
    controlnet="instantid-controlnet.safetensors",
    kind="ApplyInstantID",
    widgets=(0.8, 0.0, 1.0),
    size=128,
    pose=None,
):
    """Adapter 3, analysis 4, ControlNet 5, prompts 6 and 7, applied by 8. pose: a photo or a hint image, (number, slot)."""
    sources = {"instantid": (3, 0), "insightface": (4, 0), "control_net": (5, 0), "image": (2, 0), "model": (1, 0)}
    sources |= {"positive": (6, 0), "negative": (7, 0), **({} if pose is None else {"image_kps": pose})}
    return saved(
        ("CheckpointLoaderSimple", {}, [checkpoint]),
        ("LoadImage", {}, ["face.jpg", "image"]),
        ("InstantIDModelLoader", {}, ["ip-adapter.bin"]),
        ("InstantIDFaceAnalysis", {}, ["CPU"]),
        ("ControlNetLoader", {}, [controlnet]),
        ("CLIPTextEncode", {"clip": (1, 1)}, ["a portrait"]),
        ("CLIPTextEncode", {"clip": (1, 1)}, ["blurry"]),
        (kind, sources, list(widgets)),
        ("EmptyLatentImage", {}, [size, size, 1]),
        (
            "KSampler",
            {"model": (8, 0), "positive": (8, 1), "negative": (8, 2), "latent_image": (9, 0)},
            [7, "fixed", 2, 4.5, "euler", "normal", 1.0],
        ),
        ("VAEDecode", {"samples": (10, 0), "vae": (1, 2)}, []),
        ("SaveImage", {"images": (11, 0)}, ["adopted"]),
        ("FaceKeypointsPreprocessor", {"faceanalysis": (4, 0), "image": (2, 0)}, []),
    )


def pulid(kind="ApplyPulid", widgets=("style", 0.9, 0.0, 1.0), checkpoint="sdxl.ckpt", **options):
    """Loaded by 3, 4 and 5, applied by 6."""
    sources = {"model": (1, 0), "pulid": (3, 0), "eva_clip": (4, 0), "face_analysis": (5, 0), "image": (2, 0)}
    middle = [
        ("PulidModelLoader", {}, ["pulid_v1.1.safetensors"]),
        ("PulidEvaClipLoader", {}, []),
        ("PulidInsightFaceLoader", {}, ["CUDA"]),
        (kind, sources, list(widgets)),
    ]
    graph = portrait(middle, (6, 0), **options)
    graph["nodes"][0]["widgets_values"] = [checkpoint]
    return graph


def pulid_flux(widgets=(0.9, 0.0, 1.0), size=128):
    """FLUX.1, whose sampling is in parts: model 1, photo 2, loaded by 3, 4 and 5, applied by 6."""
    sources = {"model": (1, 0), "pulid_flux": (3, 0), "eva_clip": (4, 0), "face_analysis": (5, 0), "image": (2, 0)}
    return saved(
        ("UNETLoader", {}, ["flux1-dev.safetensors", "default"]),
        ("LoadImage", {}, ["face.jpg", "image"]),
        ("PulidFluxModelLoader", {}, ["pulid_flux_v0.9.1.safetensors"]),
        ("PulidFluxEvaClipLoader", {}, []),
        ("PulidFluxInsightFaceLoader", {}, ["CUDA"]),
        ("ApplyPulidFlux", sources, list(widgets)),
        ("DualCLIPLoader", {}, ["t5xxl_fp16.safetensors", "clip_l.safetensors", "flux"]),
        ("CLIPTextEncode", {"clip": (7, 0)}, ["a portrait"]),
        ("FluxGuidance", {"conditioning": (8, 0)}, [3.5]),
        ("BasicGuider", {"model": (6, 0), "conditioning": (9, 0)}, []),
        ("RandomNoise", {}, [7, "fixed"]),
        ("KSamplerSelect", {}, ["euler"]),
        ("BasicScheduler", {"model": (1, 0)}, ["simple", 2, 1.0]),
        ("EmptyLatentImage", {}, [size, size, 1]),
        (
            "SamplerCustomAdvanced",
            {"noise": (11, 0), "guider": (10, 0), "sampler": (12, 0), "sigmas": (13, 0), "latent_image": (14, 0)},
            [],
        ),
        ("VAELoader", {}, ["ae.safetensors"]),
        ("VAEDecode", {"samples": (15, 0), "vae": (16, 0)}, []),
        ("SaveImage", {"images": (17, 0)}, ["adopted"]),
    )


def nested(graph, inside):
    """The same, with the nodes of these numbers in a subgraph, which node 50 stands for."""
    links = [dict(zip(LINK, link, strict=True)) for link in graph["links"]]
    inner = {"id": "sub", "name": "Face", "inputs": [], "outputs": [], "links": [], "groups": []}
    inner |= {
        "inputNode": {"id": -10, "bounding": [-300, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [2000, 0, 120, 60]},
    }
    inner |= {"state": {"lastNodeId": 60, "lastLinkId": len(links), "lastGroupId": 0, "lastRerouteId": 0}, "version": 1}
    inner["nodes"] = [node for node in graph["nodes"] if node["id"] in inside]
    outer = [node for node in graph["nodes"] if node["id"] not in inside]
    stands = _instance(50, "sub")
    kept = []
    for link in links:
        if link["origin_id"] in inside or link["target_id"] in inside:
            inner["links"].append(link)
        else:
            kept.append([link[key] for key in LINK])
        if link["origin_id"] not in inside and link["target_id"] in inside:
            _through(inner["inputs"], stands["inputs"], link, kept, ("origin_id", "origin_slot"), -10)
        if link["origin_id"] in inside and link["target_id"] not in inside:
            _through(inner["outputs"], stands["outputs"], link, kept, ("target_id", "target_slot"), -20)
    graph |= {"nodes": [*outer, stands], "links": kept, "last_node_id": 50, "definitions": {"subgraphs": [inner]}}
    return graph


LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")


def _instance(number, kind):
    node = {"id": number, "type": kind, "pos": [0, 0], "size": [200, 100], "flags": {}, "order": 0, "mode": 0}
    return node | {"inputs": [], "outputs": [], "properties": {"proxyWidgets": []}, "widgets_values": []}


def _through(ends, sockets, link, kept, outside, end):
    """Lead a link through one of the subgraph's ends: inside with its number, outside with the same."""
    slot = len(ends)
    ends.append({"id": f"{end}{slot}", "name": f"at{slot}", "type": link["type"], "linkIds": [link["id"]]})
    whole = dict(link)
    if end == -10:
        sockets.append({"name": f"at{slot}", "type": link["type"], "link": link["id"]})
        whole |= {"target_id": 50, "target_slot": slot}
    else:
        sockets.append({"name": f"at{slot}", "type": link["type"], "links": [link["id"]]})
        whole |= {"origin_id": 50, "origin_slot": slot}
    link |= {outside[0]: end, outside[1]: slot}
    kept.append([whole[key] for key in LINK])


def to_api(graph):
    """The same in API format, as the front end that has these nodes exports it, without the nodes' titles."""
    names = {kind: widgets for kind, (*_, widgets) in STOCK.items()}
    names |= {kind: [one.name for one in old.widgets] for kind, old in OLD.items()}
    links, prompt = {number: [str(origin), slot] for number, origin, slot, *_ in graph["links"]}, {}
    for node in graph["nodes"]:
        inputs = {n: v for n, v in zip(names[node["type"]], node["widgets_values"], strict=False) if n}
        inputs |= {one["name"]: links[one["link"]] for one in node["inputs"] if one["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def check_links(graph):
    """Every link of the saved graph is told alike by the list, by its origin and by its target."""
    nodes, links = {node["id"]: node for node in graph["nodes"]}, {link[0]: link for link in graph["links"]}
    assert len(nodes) == len(graph["nodes"]) and len(links) == len(graph["links"])
    for number, origin, slot, target, at, kind in links.values():
        assert number in nodes[origin]["outputs"][slot]["links"] and nodes[target]["inputs"][at]["link"] == number
        assert kind == nodes[origin]["outputs"][slot]["type"]
    told = [n for node in nodes.values() for output in node["outputs"] for n in output["links"] or []]
    told += [one["link"] for node in nodes.values() for one in node["inputs"] if one["link"] is not None]
    assert sorted(told) == sorted([*links, *links])
    assert graph["last_node_id"] >= max(nodes) and graph["last_link_id"] >= max(links)
