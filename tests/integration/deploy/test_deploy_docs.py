"""docs/deploy.md: every variable is in it, and every file it names exists."""

import re

import pytest

from geofm_assets.core.compute import PREFIX, KubernetesSettings
from tests.integration.deploy.chart_instance import REPOSITORY, settings

TEXT = (REPOSITORY / "docs" / "deploy.md").read_text()
TABLE = TEXT[TEXT.index("## Settings") :]


@pytest.fixture(scope="module")
def documented() -> set[str]:
    """Variables of the table; `_NAME` stands for the prefix of the first of its row."""
    found = set()
    for row in re.findall(r"^\| (`.+?) \|", TABLE, re.MULTILINE):
        names = re.findall(r"`(\w+)`", row)
        found |= {f"{PREFIX.rstrip('_')}{n}" if n.startswith("_") else n for n in names}
    return found


def test_every_variable_of_the_package_is_documented(documented):
    files = sorted((REPOSITORY / "geofm_assets").rglob("*.py"))
    quoted = re.compile(r"[\"'`](GEOFM_[A-Z0-9_]*[A-Z0-9])\b")
    used = {found for file in files for found in quoted.findall(file.read_text())}
    pods = {f"{PREFIX}{name.upper()}" for name in KubernetesSettings.model_fields}
    assert (used | pods) - documented == set(), "add them to docs/deploy.md"


def test_every_variable_of_the_cluster_is_documented(documented):
    assert set(settings()) <= documented


def test_files_it_names_exist():
    named = set(re.findall(r"\bdeploy/[\w/.-]+\.ya?ml\b", TEXT))
    assert named
    assert [n for n in named if not (REPOSITORY / n).exists()] == []


def test_it_says_what_was_not_checked():
    for section in ("## The image", "## One server", "## A cluster"):
        body = TEXT[TEXT.index(section) :].split("\n## ")[0]
        assert "*Not checked*" in " ".join(body.split()), section
