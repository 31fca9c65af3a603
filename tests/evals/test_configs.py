"""Configs: the shipped ones hold, and what memsvc has no setting for is refused."""

from pathlib import Path

import pytest

from evals import configs
from evals.errors import WrongUse
from memsvc.settings import Settings


def test_every_shipped_config_holds() -> None:
    names = sorted(path.stem for path in configs.FOLDER.glob("*.toml"))

    loaded = configs.load(names)

    assert set(configs.DEFAULT) <= set(names)
    assert all(config.about.endswith(".") for config in loaded)


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


def test_configs_share_an_index_unless_they_index_otherwise() -> None:
    def config(**settings: object) -> configs.Config:
        return configs.Config("c", "A.", None, settings)

    assert config(depth=5).index_key() == config().index_key()
    assert config(encoder="other").index_key() != config().index_key()
