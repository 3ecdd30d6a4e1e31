"""What a use case may not be."""

from __future__ import annotations

import msgspec
import pytest

from mlops.contract import load_dotted, load_use_case
from mlops.errors import ConfigError
from mlops.features import FeatureSet

FRAUD = load_use_case("usecases.fraud")


def test_a_use_case_without_candidates_is_refused() -> None:
    with pytest.raises(ConfigError, match="no candidates"):
        msgspec.structs.replace(FRAUD, candidates=())


@pytest.mark.parametrize("package", ["usecases.nonesuch", "usecases", "usecases.fraud.events"])
def test_a_package_that_is_no_use_case_is_named(package: str) -> None:
    with pytest.raises(ConfigError, match=package.rpartition(".")[2]):
        load_use_case(package)


@pytest.mark.parametrize("package", ["../x", "", ".fraud", "usecases/fraud", "use cases"])
def test_what_cannot_be_a_package_s_name_is_refused(package: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a module"):
        load_use_case(package)


def test_a_dotted_path_leads_to_what_it_names() -> None:
    assert load_dotted("mlops.features:FeatureSet") is FeatureSet
    with pytest.raises(ConfigError, match="has no 'Counted'"):
        load_dotted("mlops.features:Counted")
