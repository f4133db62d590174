"""deploy/Dockerfile: who runs, what gets in, what is pinned."""

import re
import subprocess
import sys
import tomllib

import pytest

from tests.integration.deploy.chart_instance import DEPLOY, REPOSITORY

TARGETS = ("cpu", "cuda")


@pytest.fixture(scope="module")
def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage, with line continuations joined; ARG before FROM under ''."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        found[name].append((word, rest))
    return found


def chain(stages, name: str) -> list[tuple[str, str]]:
    """Instructions of a stage and of those it starts from, in order."""
    parent = stages[name][0][1].split()[0]
    return [*(chain(stages, parent) if parent in stages else []), *stages[name]]


def values(instructions, word: str) -> list[str]:
    return [rest for name, rest in instructions if name == word]


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_is_root(stages, target):
    users = values(chain(stages, target), "USER")
    assert users[-1] == "10001:10001"
    assert chain(stages, target)[-1][0] == "USER", "nothing is done after the user is set"


def test_the_base_is_pinned(stages):
    (base,) = values(stages[""], "ARG")
    tag = base.partition("=")[2].partition(":")[2]
    assert re.match(r"3\.11\b.*slim", tag)
    froms = [rest for steps in stages.values() for rest in values(steps, "FROM")]
    assert {f.split()[0] for f in froms} - set(stages) == {"${BASE}"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_health_of_the_code_location_is_asked(stages, target):
    (check,) = values(chain(stages, target), "HEALTHCHECK")
    assert "grpc-health-check" in check
    port = re.search(r'"-p", "(\d+)"', check)
    (command,) = values(chain(stages, target), "CMD")
    assert port
    assert f'"-p", "{port[1]}"' in command
    assert values(chain(stages, target), "EXPOSE") == [port[1]]


def test_no_secret_gets_in(stages):
    for steps in stages.values():
        for word, rest in steps:
            if word in ("ARG", "ENV"):
                assert not re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", rest), rest
            assert word != "ADD"
            if word == "COPY" and "--from" not in rest:
                assert "." not in rest.split()[:-1], "never the whole context"


def test_no_registry_is_named(stages):
    """An index is an argument without a default: which one to trust is the builder's choice."""
    text = (DEPLOY / "Dockerfile").read_text()
    assert not re.search(r"https?://", text)
    assert values(stages["packages-cpu"], "ARG") == ["TORCH_INDEX"]


def test_dependencies_are_pinned_and_a_layer_of_their_own(stages):
    for name in ("packages-cpu", "packages-cuda"):
        installs = [r for r in values(stages[name], "RUN") if "pip install" in r]
        assert installs
        for command in installs[0].split("&&"):
            assert "pip install" not in command or "-c constraints.txt" in command
    for target in TARGETS:
        words = [f"{w} {r}" for w, r in stages[target]]
        copied = next(i for i, w in enumerate(words) if w.startswith("COPY --from=packages"))
        installed = next(i for i, w in enumerate(words) if "/wheels/*.whl" in w)
        assert copied < installed


def test_only_what_is_copied_is_sent_to_the_builder(stages):
    first, *rest = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    sent = {line[1:] for line in rest if line.startswith("!")}
    copied = {
        source
        for steps in stages.values()
        for line in values(steps, "COPY")
        if "--from" not in line
        for source in line.split()[:-1]
    }
    assert sent == copied
    assert all((REPOSITORY / name).exists() for name in sent)


def test_what_the_wheel_is_made_of_is_copied(stages):
    """hatchling takes these from pyproject.toml; a file that is missing is left out silently."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    copied = {s for line in values(stages["wheel"], "COPY") for s in line.split()[:-1]}
    assert {*wanted, project["project"]["readme"], "LICENSE", "pyproject.toml"} <= copied


def test_the_list_of_dependencies_is_that_of_the_project(stages):
    (command,) = [r for r in values(stages["requirements"], "RUN") if "tomllib" in r]
    script = re.search(r'python -c "(.+)" >', command)
    assert script
    done = subprocess.run(
        [sys.executable, "-c", script[1]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert done.stdout.splitlines() == project["dependencies"]


def test_caches_lie_where_a_read_only_root_can_be_written(stages):
    environment = " ".join(values(stages["runtime"], "ENV"))
    for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        assert re.search(rf"\b{name}=/tmp/", environment), name
    assert re.search(r"\bHOME=/scratch\b", environment)


def test_pods_that_asked_for_no_gpu_see_none(stages):
    assert "NVIDIA_VISIBLE_DEVICES" not in " ".join(values(chain(stages, "cuda"), "ENV"))
