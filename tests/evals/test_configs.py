"""Configs: the shipped ones hold, and what memsvc has no setting for is refused."""

from pathlib import Path

import pytest

from evals import configs
from evals.errors import WrongUse
from memsvc.settings import Settings


def test_every_shipped_config_holds() -> None:
    names = sorted(path.stem for path in configs.FOLDER.glob("*.toml"))

    loaded = configs.load(names, has_llm=True)

    assert set(configs.DEFAULT) <= set(names)
    assert {"facts", "facts-llm", "no-facts"} <= set(names)
    assert all(config.about.endswith(".") for config in loaded)
    assert [config.name for config in loaded if config.llm] == ["facts-llm"]


def test_config_of_our_own_changes_nothing() -> None:
    (ours,) = configs.load([configs.OURS])

    changed = ours.tuned(Path("folder")).model_dump(exclude={"data_dir", "encoder_threads"})

    assert changed == Settings(_env_file=None).model_dump(exclude={"data_dir", "encoder_threads"})


def test_config_is_read_from_a_file_of_the_callers_own(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text('about = "Deeper."\n[settings]\ndepth = 300\n')

    (config,) = configs.load([str(path)])

    assert config == configs.Config("deep", "Deeper.", None, {"depth": 300})
    assert config.tuned(tmp_path).depth == 300
    assert config.tuned(tmp_path).data_dir == tmp_path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("about = ", "not TOML", id="no TOML"),
        pytest.param("[settings]\ndepth = 5", "needs `about`", id="no sentence"),
        pytest.param('about = "A."\nsetings = 1', "not setings", id="misspelt table"),
        pytest.param('about = "A."\n[settings]\ndept = 5', "sets dept,", id="misspelt setting"),
        pytest.param('about = "A."\n[settings]\ndepth = 0', "refuses", id="value out of bounds"),
        pytest.param('about = "A."\nbaseline = "best"', "random or full", id="unknown baseline"),
        pytest.param('about = "A."\nbaseline = "full"\n[settings]\ndepth = 5', "no settings", id="tuned baseline"),
        pytest.param('about = "A."\nbaseline = "full"\nllm = true', "no settings", id="baseline with a model"),
        pytest.param('about = "A."\nllm = "yes"', "`llm = true`", id="model that is no boolean"),
        pytest.param('about = "A."\n[settings]\nllm_api_key = "k"', "sets llm_api_key: say `llm = true`", id="key"),
        pytest.param('about = "A."\n[settings]\nllm_model = "m"', "sets llm_model: say `llm = true`", id="model"),
    ],
)
def test_config_that_does_not_hold_is_refused(text: str, reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        configs.of_toml("mine", text)


def test_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(WrongUse, match=r"no config nothing.*bm25.*memsvc"):
        configs.load(["nothing"])


def test_config_is_not_asked_twice() -> None:
    with pytest.raises(WrongUse, match="twice"):
        configs.load(["random", "random"])


def test_running_service_admits_itself_and_the_baselines(tmp_path: Path) -> None:
    assert [config.name for config in configs.load([], is_remote=True)] == ["random", "full", "memsvc"]
    path = tmp_path / "deep.toml"
    path.write_text('about = "Deeper."\n[settings]\ndepth = 300\n')
    with pytest.raises(WrongUse, match="deep cannot be asked of it"):
        configs.load(["memsvc", str(path)], is_remote=True)


def test_config_with_a_model_is_refused_where_the_run_has_none() -> None:
    with pytest.raises(WrongUse, match="facts-llm has facts drawn by a language model: give --llm-url"):
        configs.load(["memsvc", "facts-llm"])

    with pytest.raises(WrongUse, match="facts-llm cannot be asked of it"):
        configs.load(["facts-llm"], is_remote=True, has_llm=True)


def test_config_with_a_model_takes_that_of_the_run_and_no_other_config_does() -> None:
    model = {"llm_base_url": "http://x/v1", "llm_model": "m"}
    drawing = configs.of_toml("mine", 'about = "A."\nllm = true\n[settings]\nextract_tokens = 900\n')
    plain = configs.of_toml("mine", 'about = "A."\n')

    tuned = [config.tuned(Path(), model=model) for config in (drawing, plain)]

    assert [(one.llm_base_url, one.llm_model, one.extract_tokens) for one in tuned] == [
        ("http://x/v1", "m", 900),
        ("", "", 4000),
    ]
    assert drawing.content() == {**plain.content(), "llm": True, "settings": {"extract_tokens": 900}}


def test_configs_share_an_index_unless_they_index_otherwise_or_draw_other_facts() -> None:
    def key(*, llm: bool = False, **settings: object) -> str:
        return configs.Config("c", "A.", None, settings, llm).index_key()

    assert key(depth=5) == key(facts_boost=2.0) == key()
    assert key(extract_tokens=900) == key(), "rules do not cut a session into chunks"
    assert key(llm=True, depth=5) == key(llm=True)
    others = [key(llm=True, **{name: value}) for name, value in (("extract_tokens", 900), ("llm_daily_tokens", 5))]
    apart = [key(), key(encoder="other"), key(llm=True), key(llm=True, llm_task_models="extract=x"), *others]
    assert len(set(apart)) == len(apart)


def test_configs_share_an_encoder_unless_they_encode_otherwise() -> None:
    def key(*, llm: bool = False, **settings: object) -> str:
        return configs.Config("c", "A.", None, settings, llm).encoder_key()

    assert key(llm=True, extract_tokens=900) == key()
    assert key(encoder_precision="float32") != key()
