"""The shipped sample on ragweld-nano, with the settings of a user who asks for next to nothing."""

from __future__ import annotations

from catalog import datasets
from catalog.base import locate
from catalog.models import NANO
from catalog.plan import Plan, Profile, RunRequest, resolve
from catalog.settings import TrainingSettings


def default_profile() -> Profile:
    """What is recommended for it."""
    folder, path = locate.find(NANO), datasets.sample_path()
    assert folder is not None
    size = locate.size_of(folder)
    return Profile.recommend(
        base=NANO,
        base_parameters=size.parameters,
        context=size.context,
        dataset_path=str(path),
        rows=datasets.count_rows(path),
        training=TrainingSettings(),
    )


def default_plan(**wanted: object) -> Plan:
    """What a run of it is that asks for no more than `wanted`."""
    return resolve(RunRequest.model_validate(wanted), TrainingSettings(), default_profile())
