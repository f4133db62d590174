"""Linear probes: trained together as if alone, judged by val, the same every time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geofm_assets.core.errors import ConfigError, DatasetError, ModelInputError
from geofm_assets.evaluation.probes.data import ProbeData
from geofm_assets.evaluation.probes.linear import LinearSweep, fit_linear, predict
from geofm_assets.evaluation.probes.schedule import batches, scheduled
from geofm_assets.evaluation.probes.scoring import score_predictions
from geofm_assets.evaluation.registry.entry import DEFAULT_METRIC
from tests.probe_data import CLASSES, classes_of, generated

TASKS = tuple(DEFAULT_METRIC)
RATES = (1e-3, 1e-2, 0.5)


def fit(task_type: str, train: ProbeData, val: ProbeData, **how) -> LinearSweep:
    asked = {"rates": RATES, "epochs": 10, "batch_size": 32, "eval_every": 2, **how}
    return fit_linear(train, val, task_type=task_type, classes=classes_of(task_type), **asked)


def both(task_type: str, inputs: int = 1, samples: int = 80) -> tuple[ProbeData, ProbeData]:
    train = generated(task_type, samples, "train", inputs=inputs)
    return train, generated(task_type, 40, "val", inputs=inputs)


@pytest.mark.parametrize("task_type", TASKS)
def test_a_probe_is_the_same_to_the_last_bit_whatever_is_trained_beside_it(task_type):
    train, val = both(task_type, inputs=2)
    together = fit(task_type, train, val)
    for variant in range(2):
        one = [replace(data, features=(data.features[variant],)) for data in (train, val)]
        for number, rate in enumerate(RATES):
            alone = fit(task_type, *one, rates=(rate,))
            assert np.array_equal(alone.curve[0, 0], together.curve[variant, number])
            choice = together.probes[variant][number]
            assert (choice.epoch, choice.rate) == (alone.best_epoch, rate)
            found = together.predict(val.features[variant], choice)
            assert np.array_equal(alone.predict(val.features[variant]).labels, found.labels)


@pytest.mark.parametrize("size", [1, 7, 129])
def test_embeddings_of_odd_sizes_do_not_change_that(size):
    train, val = (
        replace(data, features=tuple(np.resize(a, (len(a), size)) for a in data.features))
        for data in both("classification", inputs=3)
    )
    together = fit("classification", train, val)
    alone = fit(
        "classification",
        *(replace(data, features=data.features[2:]) for data in (train, val)),
        rates=RATES[2:],
    )
    assert np.array_equal(alone.curve[0, 0], together.curve[2, 2])


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_nor_do_tokens_of_few_pixels(pixels):
    step = 4 // pixels
    train, val = (
        replace(data, labels=data.labels[:, ::step, ::step])
        for data in both("segmentation", inputs=2)
    )
    together = fit("segmentation", train, val)
    one = [replace(data, features=data.features[1:]) for data in (train, val)]
    alone = fit("segmentation", *one, rates=RATES[1:2])
    assert np.array_equal(alone.curve[0, 0], together.curve[1, 1])
    found = together.predict(val.features[1], together.probes[1][1])
    assert found.labels.shape == val.labels.shape
    assert np.array_equal(found.labels, alone.predict(val.features[1]).labels)


@pytest.mark.parametrize("task_type", TASKS)
def test_the_same_seed_gives_the_same_bits_whatever_the_threads(task_type):
    train, val = both(task_type)
    first = fit(task_type, train, val)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        again = fit(task_type, train, val)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert first.curve.tobytes() == again.curve.tobytes()
    assert torch.equal(first._states.theta, again._states.theta)
    other = fit(task_type, train, val, seed=1)
    assert not torch.equal(first._states.theta, other._states.theta)


def reference(task_type: str, train: ProbeData, rate: float, epochs: int, seed: int):
    """The published recipe in torch's own parts, float64; one probe."""
    size = train.features[0].shape[-1]
    dense = train.labels.ndim == 3
    side = train.labels.shape[-1] // train.features[0].shape[1] if dense else 1
    count = len(CLASSES) if classes_of(task_type) else 1
    interpolated = task_type == "per_pixel_regression"
    outputs = count * (1 if interpolated else side**2)
    linear = torch.nn.Linear(size, outputs)
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.rand((size + 1) * outputs, generator=generator) * 2 - 1) / size**0.5
    linear.weight.data = drawn[: size * outputs].view(size, outputs).T.contiguous()
    linear.bias.data = drawn[size * outputs :].clone()
    parts = [linear] if dense else [torch.nn.BatchNorm1d(size), linear]
    model = torch.nn.Sequential(*parts).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    known = train.labels[~np.isnan(train.labels)].astype(np.float64)
    mean, std = known.mean(), known.std()

    def answers(features: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(features).double()
        if not dense:
            return model(x)
        n, h, w, _ = x.shape
        found = model(x)
        if interpolated:
            found = found.permute(0, 3, 1, 2)
            return torch.nn.functional.interpolate(found, scale_factor=side, mode="bilinear")
        tiles = found.view(n, h, w, count, side, side).permute(0, 3, 1, 4, 2, 5)
        return tiles.reshape(n, count, h * side, w * side)

    def loss(found: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
        wanted = torch.from_numpy(labels)
        if task_type in ("classification", "segmentation"):
            return torch.nn.functional.cross_entropy(found, wanted, ignore_index=-1)
        if task_type == "multilabel":
            return torch.nn.functional.binary_cross_entropy_with_logits(found, wanted.double())
        mask = ~torch.isnan(wanted)
        return ((found[:, 0][mask] - (wanted.double()[mask] - mean) / std) ** 2).mean()

    for epoch in range(epochs):
        cut = batches(len(train), 32, seed, epoch)
        for number, rows in enumerate(cut):
            rates = torch.tensor([rate], dtype=torch.float64)
            now = scheduled(rates, epoch + number / len(cut), epochs)
            optimizer.param_groups[0]["lr"] = float(now)
            optimizer.zero_grad()
            loss(answers(train.features[0][rows]), train.labels[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return lambda features: answers(features), mean, std


@pytest.mark.parametrize("task_type", TASKS)
def test_written_out_gradients_train_what_torch_trains(task_type):
    train, val = (
        replace(data, features=tuple(a.astype(np.float64) for a in data.features))
        for data in both(task_type)
    )
    sweep = fit(task_type, train, val, rates=(1e-2,), epochs=12, eval_every=12)
    found = sweep.predict(val.features[0])
    ask, mean, std = reference(task_type, train, 1e-2, 12, seed=0)
    with torch.no_grad():
        wanted = ask(val.features[0])
    if found.scores is not None:
        probability = torch.sigmoid if task_type == "multilabel" else lambda z: z.softmax(dim=1)
        assert np.allclose(found.scores, probability(wanted), atol=1e-9)
    elif task_type == "segmentation":
        assert np.array_equal(found.labels, wanted.argmax(dim=1))
    else:
        numbers = (wanted[:, 0] * std + mean).numpy()
        assert np.allclose(found.labels, numbers, atol=1e-7)


@pytest.mark.parametrize("task_type", TASKS)
def test_probes_learn_what_embeddings_say(task_type):
    train, val = both(task_type, samples=200)
    test = generated(task_type, 60, "test")
    sweep = fit(task_type, train, val, epochs=30)
    metric = DEFAULT_METRIC[task_type]
    scores = score_predictions(
        test.labels,
        predict(sweep, test.features[0]),
        task_type=task_type,
        classes=classes_of(task_type),
        metric=metric,
        resamples=200,
    )
    assert scores[0].metric == metric
    assert scores[0].low <= scores[0].value <= scores[0].high
    limits = {"window_regression": 15, "per_pixel_regression": 6}
    if task_type in limits:
        assert scores[0].value < limits[task_type]
    else:
        assert scores[0].value > 0.75


@pytest.mark.parametrize("task_type", ["classification", "window_regression"])
def test_the_best_probe_is_best_in_the_metrics_direction(task_type):
    train, val = both(task_type)
    sweep = fit(task_type, train, val, rates=(1e-5, 1e-2))
    pick = np.min if task_type == "window_regression" else np.max
    assert sweep.best.value == pick(sweep.curve)
    assert sweep.best_rate == 1e-2
    assert sweep.epochs[-1] == 10
    at = sweep.epochs.index(sweep.best_epoch)
    assert sweep.curve[0, 1, at] == sweep.best.value


@pytest.mark.parametrize("metric", ["macro_f1", "auroc", "prauc", "micro_map"])
def test_any_metric_of_the_task_can_choose(metric):
    train, val = both("multilabel")
    sweep = fit("multilabel", train, val, metric=metric)
    scores = score_predictions(
        val.labels, sweep.predict(val.features[0]), task_type="multilabel", classes=CLASSES,
        metric=metric, resamples=0,
    )  # fmt: skip
    assert scores[0].value == pytest.approx(sweep.best.value)


def test_a_prediction_is_that_of_the_best_epoch():
    train, val = both("classification")
    sweep = fit("classification", train, val, rates=(0.5,))
    early = fit("classification", train, val, rates=(0.5,), eval_every=1)
    for one in (sweep, early):
        said = one.predict(val.features[0]).labels
        assert (said == val.labels).mean() == one.best.value


def test_looking_at_val_does_not_change_training():
    train, val = both("classification")
    often = fit("classification", train, val, eval_every=1)
    once = fit("classification", train, val, eval_every=10)
    assert np.array_equal(often.curve[..., -1], once.curve[..., -1])


def test_the_schedule_warms_up_and_ends_low():
    rates = torch.tensor([1e-1, 1e-6], dtype=torch.float64)
    found = [scheduled(rates, epoch, 50).tolist() for epoch in (0, 2.5, 5, 27.5, 50)]
    assert found[0] == [0, 0]
    assert found[1][0] == pytest.approx(5e-2)
    assert found[2] == pytest.approx([1e-1, 1e-6])
    assert found[3][0] == pytest.approx((1e-1 + 1e-5) / 2)
    assert found[4] == pytest.approx([1e-5, 1e-6])


def test_every_sample_is_in_one_batch_of_an_epoch_and_none_is_alone():
    cut = batches(65, 32, seed=3, epoch=1)
    assert sorted(np.concatenate(cut).tolist()) == list(range(65))
    assert [len(rows) for rows in cut] == [32, 33]
    assert [len(rows) for rows in batches(66, 32, 3, 1)] == [32, 32, 2]
    assert not np.array_equal(cut[0], batches(65, 32, seed=3, epoch=2)[0])


def test_a_class_that_train_lacks_is_said():
    train, val = both("classification")
    sweep = fit("classification", train.take(train.labels != 2), val)
    assert sweep.notes == ("class forest is in val and not in train: it cannot be predicted",)
    assert not (sweep.predict(val.features[0]).labels == 2).any()


def test_one_class_in_train_is_said_and_is_what_is_predicted():
    train, val = both("classification")
    sweep = fit("classification", train.take(train.labels == 1), val, rates=(1e-1,), epochs=20)
    assert "train has one class only, crop" in sweep.notes
    assert (sweep.predict(val.features[0]).labels == 1).all()


def test_pixels_and_windows_without_a_label_teach_nothing():
    train, val = both("segmentation")
    blank = train.take(np.arange(len(train)))
    blank.labels[::2] = -1
    halved = fit("segmentation", blank, val)
    kept = fit("segmentation", train.take(np.arange(1, len(train), 2)), val)
    assert halved.samples == 40
    assert np.array_equal(halved.curve, kept.curve)


def test_a_split_without_labels_is_refused():
    train, val = both("segmentation")
    val.labels[:] = -1
    with pytest.raises(DatasetError, match="None of 40 samples has a label at split val"):
        fit("segmentation", train, val)


def test_targets_that_never_change_are_refused():
    train, val = both("window_regression")
    train.labels[:] = 7.0
    with pytest.raises(DatasetError, match="Every target is 7"):
        fit("window_regression", train, val)


def test_a_single_sample_is_refused_where_embeddings_are_normalised():
    train, val = both("classification")
    with pytest.raises(DatasetError, match="A single sample"):
        fit("classification", train.take(np.array([0])), val)
    dense, dense_val = both("segmentation")
    assert fit("segmentation", dense.take(np.array([0])), dense_val).samples == 1


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"rates": ()}, "rates"),
        ({"rates": (1e-3, 1e-3)}, "rates"),
        ({"rates": (-1.0,)}, "rates"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"eval_every": 0}, "eval_every"),
        ({"metric": "rmse"}, "metric"),
    ],
)
def test_settings_that_make_no_sense_are_named(how, named):
    with pytest.raises(ConfigError, match=named):
        fit("classification", *both("classification"), **how)


def test_embeddings_of_another_model_are_refused():
    train, val = both("classification")
    sweep = fit("classification", train, val)
    with pytest.raises(ModelInputError, match="trained on"):
        sweep.predict(val.features[0][:, :5])
    with pytest.raises(ModelInputError, match="Train and val differ"):
        fit("classification", train, replace(val, features=(val.features[0][:, :5],)))


def test_half_precision_is_probed_in_single():
    train, val = both("classification")
    halves = [
        replace(data, features=tuple(a.astype(np.float16) for a in data.features))
        for data in (train, val)
    ]
    whole = [
        replace(data, features=tuple(a.astype(np.float32) for a in data.features))
        for data in halves
    ]
    found = fit("classification", *halves)
    assert np.array_equal(found.curve, fit("classification", *whole).curve)
