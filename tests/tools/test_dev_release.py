"""What the release workflow is told: that all name one version, and what is new in it."""

import pytest

from dev_tools import load_dev, place_pack

CHANGELOG = "# Changelog\n\nIntro.\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n- a node\n\n## [1.1.0] - 2026-11-01\n\n- old\n"


@pytest.fixture
def dev(tmp_path):
    return load_dev(place_pack(tmp_path / "pack"))


def notes(dev, tag="v1.2.0", changelog=CHANGELOG):
    (dev.common.ROOT / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (dev.common.ROOT / "CHANGELOG.md").write_text(changelog)
    return dev.release.notes(tag)


def test_the_section_of_the_version_and_no_other(dev):
    assert notes(dev) == "### Added\n\n- a node\n"
    assert notes(dev, changelog=CHANGELOG[: CHANGELOG.index("## [1.1.0]")]) == "### Added\n\n- a node\n"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tag": "v1.2.1"}, r"tag is v1\.2\.1, and pyproject\.toml has version 1\.2\.0"),
        ({"tag": "1.2.0"}, r"tag is 1\.2\.0"),
        ({"changelog": "# Changelog\n\n## [1.1.0] - 2026-11-01\n\n- old\n"}, r"no section for 1\.2\.0"),
        ({"changelog": CHANGELOG.replace("2026-12-01", "Unreleased")}, "'Unreleased'.*YYYY-MM-DD"),
        ({"changelog": CHANGELOG.replace("### Added\n\n- a node\n", "")}, "empty"),
    ],
)
def test_what_is_not_ready_for_a_release(dev, given, says):
    with pytest.raises(dev.common.DevError, match=says):
        notes(dev, **given)
