"""`models convert`: a .bin and its .safetensors twin are the same adapter."""

import pytest
import torch

from facegen.errors import NotAnAdapterError
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity import raw_embedding
from facegen.models.identity.adapter_file import AdapterFile
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from facegen.models.identity.instantid.adapter import InstantIDAdapter
from facegen.standalone.cli import convert
from facegen.standalone.cli.main import main
from faceid_files import faceid_state, save

SMALL = {"widths": [32, 64], "inner": 64, "clip_dim": 80, "depth": 1}


@pytest.fixture
def published(tmp_path):
    return save(faceid_state(**SMALL), tmp_path / "ip-adapter-faceid-plusv2_sd15.bin")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_twin_is_the_same_adapter(published, capsys):
    assert main(["models", "convert", str(published)]) == 0
    twin = published.with_suffix(".safetensors")
    assert f"wrote {twin} (faceid-plusv2_sd15)" in capsys.readouterr().err
    assert twin.stat().st_mode == published.stat().st_mode  # read by whoever may read the original
    files = AdapterFile(published), AdapterFile(twin)
    assert sorted(files[0]) == sorted(files[1])
    assert all(
        torch.equal(files[0][name], files[1][name]) and files[0][name].dtype == files[1][name].dtype for name in files[0]
    )
    face = FaceEmbeds(torch.randn(1, 512), torch.randn(1, 257, 80), torch.randn(1, 257, 80))
    (key, _), (same, _) = (FaceIDAdapter(path).keys_values(face)[0] for path in (published, twin))
    assert torch.allclose(key, same, atol=1e-5)  # where a tensor lies in memory moves the last digits


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    state = faceid_state(**SMALL)
    both = torch.randn(2, *state["ip_adapter"]["1.to_k_ip.weight"].shape)
    state["ip_adapter"] |= {"1.to_k_ip.weight": both[0], "1.to_v_ip.weight": both[1]}
    out, _ = convert.convert(save(state, tmp_path / "shared.bin"))
    assert torch.equal(AdapterFile(out)["ip_adapter.1.to_v_ip.weight"], both[1])


def test_plus_v1_stays_plus_v1(published, capsys):
    assert main(["models", "convert", str(published), "--plus-v1", "-o", str(published.parent / "v1.safetensors")]) == 0
    assert FaceIDAdapter(published.parent / "v1.safetensors").variant.name == "faceid-plus_sd15"
    assert FaceIDAdapter(published).variant.name == "faceid-plusv2_sd15"


def test_plus_v1_is_refused_for_what_it_cannot_be(tmp_path, capsys):
    plain = save(faceid_state([32], clip_dim=None, inner=64), tmp_path / "plain.bin")
    assert main(["models", "convert", str(plain), "--plus-v1"]) == 2
    assert "plain.bin is faceid_sd15. --plus-v1 is for files that look like faceid-plusv2_sd15" in capsys.readouterr().err
    assert names(tmp_path) == ["plain.bin"]


def test_an_existing_file_is_not_written_over(published, capsys):
    twin = published.with_suffix(".safetensors")
    twin.write_text("mine")
    assert main(["models", "convert", str(published)]) == 2
    assert f"{twin} is there already" in capsys.readouterr().err and twin.read_text() == "mine"


def test_what_is_no_adapter_is_not_converted(tmp_path, capsys):
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.bin")
    assert main(["models", "convert", str(tmp_path / "other.bin")]) == 2
    assert "not a FaceID adapter" in capsys.readouterr().err
    assert names(tmp_path) == ["other.bin"]


def test_a_full_disk_leaves_nothing_half_written(published, monkeypatch, capsys):
    def full(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "save_file", full)
    assert main(["models", "convert", str(published)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert names(published.parent) == [published.name]


@pytest.mark.parametrize("known", [True, False], ids=["by its size", "by the option"])
def test_instantid_stays_instantid(tmp_path, monkeypatch, known):
    path = save(faceid_state([32], 96, rank=0, unnorm=True, depth=1, inner=64), tmp_path / "a.bin")
    if known:
        monkeypatch.setattr(raw_embedding, "INSTANTID_SIZE", path.stat().st_size)
    assert main(["models", "convert", str(path), *([] if known else ["--instantid"])]) == 0
    assert InstantIDAdapter(tmp_path / "a.safetensors").variant.name == "instantid"
    with pytest.raises(NotAnAdapterError, match="it is an InstantID adapter"):
        FaceIDAdapter(tmp_path / "a.safetensors")


def test_portrait_unnorm_stays_portrait_unnorm(tmp_path):
    path = save(faceid_state([32], 96, rank=0, unnorm=True, depth=1, inner=64), tmp_path / "a.bin")
    assert main(["models", "convert", str(path)]) == 0
    assert FaceIDAdapter(tmp_path / "a.safetensors").variant.raw_identity
    with pytest.raises(NotAnAdapterError, match="it is a FaceID adapter"):
        InstantIDAdapter(tmp_path / "a.safetensors")


def test_what_is_no_instantid_is_not_converted_as_such(published, capsys):
    assert main(["models", "convert", str(published), "--instantid"]) == 2
    assert "is not an InstantID adapter: it is a FaceID adapter" in capsys.readouterr().err
    assert names(published.parent) == [published.name]
