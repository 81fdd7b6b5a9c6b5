from pathlib import Path

from pipeline.launching.estimates import START_UP_SECONDS, expected_bytes, expected_seconds, makespan
from pipeline.launching.status import StageStatus, run_stages, stage_of
from pipeline.settings import parse
from pipeline.study.runs import Run


def test_makespan():
    assert makespan([3.0, 2.0, 2.0], 2) == 4.0
    assert makespan([3.0, 2.0, 2.0], 1) == 7.0
    assert makespan([3.0, 2.0], 8) == 3.0
    assert makespan([], 2) == 0.0


def known(study, **runs):
    """Status of every training run: as given by model-loss-seed with _ in place of -, else one that never ran."""
    given = {name.replace("_", "-"): run for name, run in runs.items()}
    return {
        stage: StageStatus(Path(), "to run", *given.get(stage.split("@")[1], (None, None)))
        for stage in run_stages(study)
    }


def test_time_and_size_come_from_the_run_itself_else_from_its_model(tiny):
    tiny["train"]["epochs"] = 10
    study = parse(tiny)
    status = known(
        study,
        small_bce_42=(100, {"seconds": 30.0, "epochs": 5}),
        small_zlpr_42=(300, {"seconds": 10.0, "epochs": 5}),
        small_zlpr_7=(None, {"seconds": 0, "epochs": 5}),
    )
    seconds, sizes = expected_seconds(study, status), expected_bytes(study, status)
    assert seconds[Run("small", "bce", 42)] == START_UP_SECONDS + 60.0
    assert seconds[Run("small", "zlpr", 42)] == START_UP_SECONDS + 20.0
    assert seconds[Run("small", "bce", 7)] == START_UP_SECONDS + 40.0  # the median of 6 and 2 s an epoch
    assert seconds[Run("wide", "bce", 7)] is None
    assert (sizes[Run("small", "bce", 42)], sizes[Run("small", "bce", 7)]) == (100, 200)
    assert sizes[Run("wide", "bce", 42)] is None


def test_a_models_own_epochs_count(tiny):
    tiny["models"]["small"]["epochs"] = 20
    study = parse(tiny)
    status = known(study, small_bce_42=(1, {"seconds": 2.0, "epochs": 1}))
    assert expected_seconds(study, status)[Run("small", "bce", 42)] == START_UP_SECONDS + 40.0


def test_the_first_seed_is_stage_train_and_the_others_are_replicates(tiny):
    study = parse(tiny)
    assert stage_of(Run("wide", "zlpr", 42), study) == "train@wide-zlpr-42"
    assert stage_of(Run("wide", "zlpr", 7), study) == "replicate@wide-zlpr-7"
