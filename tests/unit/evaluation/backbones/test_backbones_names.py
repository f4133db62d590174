"""Which model and which weights a name asks for."""

import pytest

from geofm_assets.core.errors import ConfigError
from geofm_assets.evaluation.backbones.names import NAMES, known_models, parse_model
from geofm_assets.evaluation.backbones.normalize import RULES
from geofm_assets.evaluation.backbones.wrapped_builders import BUILDERS
from geofm_assets.models.architecture import architecture


def test_a_bare_name_starts_at_random():
    choice = parse_model("olmoearth_v1_2_nano")
    assert (choice.source, choice.seed, choice.text) == ("random", 0, "olmoearth_v1_2_nano")


def test_a_seed_is_part_of_what_the_scores_say():
    assert parse_model("presto", seed=3) == parse_model("presto@seed:3")


@pytest.mark.parametrize(
    ("text", "source", "location"),
    [
        ("presto@path:/some/folder", "path", "/some/folder"),
        ("presto@hub", "hub", None),
        ("presto@hub:owner/name@v2", "hub", "owner/name@v2"),
        ("croma_base@path:w", "path", "w"),
    ],
)
def test_weights_are_read_from_the_name(text, source, location):
    choice = parse_model(text)
    assert (choice.source, choice.location, choice.text) == (source, location, text)


def test_weights_given_apart_are_the_same():
    assert parse_model("presto", weights="path:/x") == parse_model("presto@path:/x")


def test_two_different_weights_are_refused():
    with pytest.raises(ConfigError, match=r"Two weights.*--model 'presto@path:/x'"):
        parse_model("presto@path:/x", weights="seed:1")


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"named 'olmoearth_v1_2_nono'.*Did you mean \S+_nano\?"):
        parse_model("olmoearth_v1_2_nono")


@pytest.mark.parametrize("weights", ["path:", "seed:x", "seed:-1", "hub:", "disk:/x", "seed:"])
def test_weights_of_no_known_kind_are_refused(weights):
    with pytest.raises(ConfigError, match="No such weights"):
        parse_model(f"presto@{weights}")


@pytest.mark.parametrize("name", ["raw_pixels", "checkpoint:crops/presto-s2-ps1-ws1-t12"])
def test_a_model_without_a_choice_refuses_weights(name):
    with pytest.raises(ConfigError, match="no choice of weights"):
        parse_model(f"{name}@seed:1")


def test_wrapped_models_ask_for_weights():
    with pytest.raises(ConfigError, match=r"croma_base has no random start.*@path:FOLDER"):
        parse_model("croma_base")


def test_wrapped_models_have_no_seed():
    with pytest.raises(ConfigError, match="no random start"):
        parse_model("clay@seed:1")


def test_a_checkpoint_is_a_task_and_an_experiment():
    choice = parse_model("checkpoint:worldcereal/presto-s2-ps1-ws1-t12")
    assert choice.checkpoint == ("worldcereal", "presto-s2-ps1-ws1-t12")


@pytest.mark.parametrize("name", ["checkpoint:crops", "checkpoint:/x", "checkpoint:../x/y/z"])
def test_anything_else_is_no_checkpoint(name):
    with pytest.raises(ConfigError, match="Not the name of a checkpoint"):
        parse_model(name)


def test_every_name_is_listed_once():
    listed = [model.name for model in known_models()]
    assert listed[:-1] == list(NAMES)
    assert len(set(listed)) == len(listed)


def test_every_olmoearth_name_has_an_architecture():
    for name in NAMES:
        if name.startswith("olmoearth"):
            assert architecture(name).name == name


def test_every_listed_rule_is_in_the_table():
    families = {"olmoearth": "olmoearth", "galileo": "galileo", "presto": "presto"}
    families |= {name: name for name in BUILDERS}
    for model in known_models()[:-1]:
        family = next((f for start, f in families.items() if model.name.startswith(start)), None)
        assert set(model.normalizations) == set(RULES[family or "baseline"]), model.name
