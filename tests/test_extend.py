"""``sharpscope.extend``: the names that plugins import, and plugins that import nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import sharpscope
from sharpscope import extend
from sharpscope.extend import (
    CONDITIONS,
    DATASETS,
    REGIMES,
    SCHEDULES,
    Backward,
    ConditionFacts,
    Count,
    DataError,
    Dataset,
    DataSource,
    Draws,
    Estimate,
    FeatureMoments,
    GaussNewton,
    Mean,
    MeasureFacts,
    Pass,
    PerturbedLosses,
    Products,
    Recipe,
    RemoteFile,
    Risk,
    SharpscopeError,
    Space,
    SpecError,
    Step,
    Steps,
    Stream,
    Values,
    antithetic,
    corrupt,
    draw_rounds,
    judged,
    locate,
    mean_of,
    measure,
    pair_means,
    stratified,
)
from sharpscope.spec import Regime, Training

from .core import run_with_core

ROOT = Path(__file__).parents[1]
IMPORT = re.compile(r"from sharpscope\.extend import (\([^)]*\)|[^\n(]+)")


@pytest.mark.parametrize("module", [sharpscope, extend], ids=lambda module: module.__name__)
def test_editors_see_what_is_there(module):
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sharpscope."):
            seen |= {alias.name: getattr(import_module(node.module), alias.name) for alias in node.names}
    passed_on = set(module.__all__) - {"errors", "load_ledger"}
    assert set(seen) == passed_on
    assert all(getattr(module, name) is seen[name] for name in passed_on)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nonsense'"):
        _ = module.nonsense


def test_what_is_said_to_be_public_is_there():
    page = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
    public = re.findall(r"^\| `(sharpscope[\w.]*)` \|", page, re.MULTILINE)
    assert len(public) == 5
    for name in public:
        module = import_module(name)
        assert all(hasattr(module, member) for member in module.__all__)


def test_every_name_is_explained():
    assert set(extend.__all__) == set(re.findall(r"``(\w+)``", extend.__doc__))


def test_every_name_is_used():
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.py")]
    imports = [found for page in pages for found in IMPORT.findall(page.read_text("utf-8"))]
    assert set(extend.__all__) <= {name for found in imports for name in re.findall(r"\w+", found)}


def test_a_plugin_of_scores_loads_no_torch():
    script = (
        "import sys; from sharpscope.extend import SCORES, ScoreFacts, Predictions, Split, SECTIONS, Content;"
        "assert len(SCORES) > 3; assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_core_is_enough_for_all_but_sections_and_executors():
    script = """
from sharpscope import extend
from sharpscope.errors import SharpscopeError

for name in extend.__all__:
    try:
        getattr(extend, name)
    except SharpscopeError as error:
        print(name, error)
"""
    ended = run_with_core(script)
    assert ended.returncode == 0, ended.stderr
    told = dict(line.split(" ", 1) for line in ended.stdout.splitlines())
    assert {"SECTIONS", "execute_job"} <= set(told)
    assert set(told) <= {
        *("SECTIONS", "SectionFacts", "Evidence", "Content", "Assignment", "Outcome", "DataCache", "execute_job"),
        *("STAGES", "Stage", "Column", "StageResult", "Work"),
    }
    for name, sentence in told.items():
        assert sentence.startswith(f"sharpscope.extend.{name} needs the package ")
        assert sentence.endswith("pip install 'sharpscope[study]'")


MODEL = nn.Linear(4, 3, dtype=torch.float64)
INPUTS = Stream("extend", "inputs").numpy().normal(size=(20, 4))
DATA = (torch.from_numpy(INPUTS), torch.arange(20) % 3)


def loss(theta):
    return nn.functional.cross_entropy(nn.functional.linear(DATA[0], theta[:12].view(3, 4), theta[12:]), DATA[1])


def theta():
    return torch.cat([MODEL.weight.flatten(), MODEL.bias]).detach()


def facts(exact=True):
    return MeasureFacts("A measure", "m", "larger", frozenset(), "little", exact=exact, reference="")


def test_a_measure_of_curvature():
    @measure(facts())
    def bias_curvature(risk: Risk) -> Steps:
        """Curvature along the last bias."""
        space = Space(risk, "bias")
        products = Products(GaussNewton(space), torch.eye(space.size, dtype=space.dtype)[-1:])
        yield products
        return Estimate(float(products.value[0, -1]), samples=products.samples)

    # The Gauss-Newton matrix is the Hessian where the outputs are linear in the parameters.
    expected = float(torch.autograd.functional.hessian(loss, theta())[-1, -1])
    assert sharpscope.measure(MODEL, DATA, ["bias_curvature"])["bias_curvature"].value == pytest.approx(expected)


def test_a_measure_of_the_neighborhood():
    @measure(facts(exact=False))
    def mean_rise(risk: Risk, *, rho: float = 0.1, draws: int = 5) -> Steps:
        """Mean rise of the risk under noise."""
        if rho <= 0:
            raise SharpscopeError(f"rho must be positive, got {rho}")
        stream, samples = risk.stream.child("mean_rise"), 0

        def make(start, count):
            nonlocal samples
            perturbed = PerturbedLosses(antithetic(rho, stream, start, count))
            yield perturbed
            samples = perturbed.samples
            return pair_means(perturbed.differences)

        rises = yield from draw_rounds(make, draws, risk.rtol)
        return judged(mean_of(rises, samples), risk.rtol)

    found = sharpscope.measure(MODEL, DATA, ["mean_rise"])["mean_rise"]
    rises = []
    for k in range(5):
        generator = Stream(0, "measure", "estimators", "mean_rise", k).torch()
        z = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in MODEL.parameters()]
        noise = 0.1 * torch.cat([part.flatten() for part in z])
        rises.append(float((loss(theta() + noise) + loss(theta() - noise)) / 2 - loss(theta())))
    rises = torch.tensor(rises, dtype=torch.float64)
    assert found.value == pytest.approx(float(rises.mean()))
    assert found.stderr == pytest.approx(float(rises.std()) / 5**0.5)
    with pytest.raises(SharpscopeError, match="mean_rise: rho must be positive, got -1"):
        sharpscope.measure(MODEL, DATA, {"mean_rise": {"rho": -1}})


def test_a_measure_of_several_sums():
    @measure(facts())
    def spread(risk: Risk) -> Steps:
        """Variance of the features, over the median of the losses, a sample."""
        features, losses, count = FeatureMoments(), Values(lambda e: e.losses), Count()
        yield features, losses, count
        value = float(features.variance.sum() / losses.all.median()) / count.samples
        return Estimate(value, samples=count.samples)

    losses = nn.functional.cross_entropy(MODEL(DATA[0]).detach(), DATA[1], reduction="none")
    expected = DATA[0].var(dim=0, correction=0).sum() / losses.median() / 20
    found = sharpscope.measure(MODEL, [tuple(part[i : i + 7] for part in DATA) for i in (0, 7, 14)], ["spread"])
    assert found["spread"].value == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("function", "came"),
    [
        (lambda outputs: outputs.mean(), r"a tensor of shape \(\)"),
        (lambda outputs: outputs, r"a tensor of shape \(7, 3\)"),
        (lambda outputs: outputs.sum(1, keepdim=True), r"a tensor of shape \(7, 1\)"),
        (lambda outputs: float(outputs.sum()), "float"),
        (lambda outputs: None, "NoneType"),
    ],
)
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda function: Mean(lambda e: function(e.outputs)), "the function of Mean"),
        (lambda function: Values(lambda e: function(e.outputs)), "the function of Values"),
        (lambda function: PerturbedLosses([], lambda outputs, targets: function(outputs)), "the loss"),
    ],
    ids=["Mean", "Values", "PerturbedLosses"],
)
def test_a_sum_of_what_is_not_one_number_a_sample_is_refused(make, what, function, came):
    @measure(facts())
    def of_batches(risk: Risk) -> Steps:
        """What depends on how the data is cut."""
        yield make(function)
        return Estimate(0.0)

    told = rf"of_batches: {what} must return one number a sample, a tensor of shape \(7,\) for this batch, got {came}"
    with pytest.raises(SharpscopeError, match=told):
        sharpscope.measure(MODEL, DATA, ["of_batches"], batch_size=7)


def test_a_dataset_of_a_file(tmp_path):
    file = RemoteFile("numbers.txt", sha256="9f4b9d1a1c1f7a6d1d3c6c0b5bd9f3f0c1d6b6a6d8b9a9f6f1c2d3e4f5a6b7c8")

    @DATASETS.register()
    def numbers(source: DataSource, *, train_size: int = 4) -> Dataset:
        """Numbers of a file."""
        path = locate(file, source, folders=[""], mirrors=[])
        values = torch.tensor([[float(line)] for line in path.read_text().split()])
        targets = torch.arange(len(values)) % 2
        if train_size > len(values):
            raise DataError(f"there are {len(values)} numbers, and {train_size} are asked for")
        chosen = stratified(targets, train_size, Stream("numbers"))
        return Dataset("numbers", values[chosen], targets[chosen], values, targets, ("even", "odd"), (0.0,), (1.0,))

    (tmp_path / "numbers.txt").write_text("0 1 2 3 4 5")
    made = DATASETS["numbers"](DataSource(tmp_path))
    assert made.train_targets.bincount().tolist() == [2, 2]
    with pytest.raises(DataError, match="there are 6 numbers, and 7 are asked for"):
        DATASETS["numbers"](DataSource(tmp_path), train_size=7)


def test_a_corruption():
    @CONDITIONS.register(facts=ConditionFacts("inputs", "Dark", family="weather"))
    def dark(images: torch.Tensor, severity: int, draws: Draws) -> torch.Tensor:
        """Darker, by another share for each image."""
        return images * (1 - 0.1 * severity * draws.uniform("share"))[:, None, None, None]

    images = torch.full((3, 1, 8, 8), 200, dtype=torch.uint8)
    shares = Draws(Stream("dark"), 0, 3).uniform("share")
    assert len(shares.unique()) == 3
    darker = corrupt(images, "dark", 2, Stream("dark"))
    assert (darker < images).all()


def test_a_regime_with_a_step_and_a_schedule():
    class Twice(Step):
        """The optimizer's step, two times."""

        def __call__(self, backward: Backward) -> Pass:
            super().__call__(backward)
            return super().__call__(backward)

    @REGIMES.register()
    def twice(recipe: Recipe, *, times: int = 2) -> Recipe:
        """Steps two times."""
        if times != 2:
            raise SpecError(f"times must be 2, got {times}", ("times",))
        return recipe.with_update(Twice)

    @SCHEDULES.register()
    def falling(step: int, steps: int) -> float:
        """One over the number of the step."""
        return 1 / (step + 1)

    training = Training.model_validate({"schedule": "falling"})
    recipe = Recipe.from_spec(training, Regime.model_validate("twice"))
    assert recipe.schedule(1, 10) == 0.5
    weight = nn.Parameter(torch.ones(1))
    model = nn.ParameterList([weight])
    step = recipe.update(model, torch.optim.SGD(model.parameters(), lr=0.25))

    def backward(**_):
        weight.grad = 2 * weight.detach()  # of the loss w^2
        return Pass(weight.detach() ** 2, weight.detach())

    step(backward)
    assert weight.item() == 0.25
    with pytest.raises(SpecError, match="times must be 2, got 3"):
        Recipe.from_spec(training, Regime.model_validate({"twice": {"times": 3}}))
