"""Penalties on forgetting: what they are worth, what they keep, what they refuse."""

import copy
import io
import math
import pickle
import re
import warnings

import pytest
import torch
from torch import Tensor, nn

from lightning_losses import LossModule, Term, losses
from lightning_losses.anchors import Anchor, stable_penalty_step
from lightning_losses.fisher import Gaussian, diagonal_fisher
from lightning_losses.functional import anchored_square, path_importance, path_integral
from lightning_losses.losses import EWC

EXACT = {"rtol": 1e-12, "atol": 1e-14}


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(6, 4)).double()


def importances(model: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=generator).to(p) for n, p in model.named_parameters()}


def moved(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)
    return model


def consolidated(model: nn.Module, tasks: int = 2, **options) -> EWC:
    ewc = EWC(**options)
    for task in range(tasks):
        ewc.consolidate(moved(model), importances(model, task))
    moved(model)
    return ewc


def by_hand(model: nn.Module, anchors: list[Anchor]) -> float:
    total = 0.0
    for anchor in anchors:
        for name, parameter in model.named_parameters():
            values = (t.flatten().tolist() for t in (parameter, anchor.parameters[name], anchor.fisher[name]))
            total += sum(f * (w - at) ** 2 / 2 for w, at, f in zip(*values, strict=True))
    return total


def flat_penalty(ewc: EWC, model: nn.Module) -> tuple[Tensor, callable]:
    """The parameters in one vector, and the penalty as its function."""
    names = {name: p.numel() for name, p in model.named_parameters()}

    class Penalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> Tensor:
            return ewc(self.model)

    def penalty(vector: Tensor) -> Tensor:
        parts = vector.split(list(names.values()))
        shapes = dict(model.named_parameters())
        state = {f"model.{n}": part.view_as(shapes[n]) for n, part in zip(names, parts, strict=True)}
        return torch.func.functional_call(Penalised(), state, ())

    return torch.cat([p.detach().flatten() for p in model.parameters()]), penalty


@pytest.mark.parametrize("mode", ["online", "separate"])
def test_value_and_derivatives(mode: str) -> None:
    """The Hessian is diagonal: the sum of the importances."""
    model = make_model()
    ewc = consolidated(model, tasks=3, mode=mode)
    assert len(ewc.anchors) == (1 if mode == "online" else 3)
    assert ewc(model).item() == pytest.approx(by_hand(model, ewc.anchors), rel=1e-12)
    vector, penalty = flat_penalty(ewc, model)
    diagonal = torch.cat([f.flatten() for f in ewc.importance.values()])
    torch.testing.assert_close(torch.func.hessian(penalty)(vector), diagonal.diag(), **EXACT)
    assert torch.autograd.gradcheck(penalty, vector.requires_grad_())
    torch.testing.assert_close(
        diagonal, torch.cat([sum(importances(model, t)[n] for t in range(3)).flatten() for n in ewc.importance])
    )


def test_online_of_one_task_is_separate() -> None:
    model, online, separate = make_model(), EWC(gamma=0.3), EWC(mode="separate")
    for ewc in (online, separate):
        ewc.consolidate(model, importances(model))
    moved(model)
    assert torch.equal(online(model), separate(model))


def test_online_forgets_importances_by_gamma_and_stays_at_the_latest_parameters() -> None:
    model, ewc = make_model(), EWC(gamma=0.25)
    for task in range(3):
        ewc.consolidate(moved(model), importances(model, task))
    (anchor,) = ewc.anchors
    for name, parameter in model.named_parameters():
        first, second, third = (importances(model, task)[name] for task in range(3))
        torch.testing.assert_close(anchor.fisher[name], first / 16 + second / 4 + third, **EXACT)
        assert torch.equal(anchor.parameters[name], parameter)
    assert ewc(model) == 0


def regression(seed: int) -> tuple[Tensor, Tensor]:
    """A task whose Fisher information is diagonal: orthogonal inputs of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(8, 4, generator=generator, dtype=torch.float64)).Q
    sizes = torch.rand(4, generator=generator, dtype=torch.float64) + 0.5
    return basis * sizes, torch.randn(8, 1, generator=generator, dtype=torch.float64)


def solve(x: Tensor, y: Tensor, ewc: EWC | None) -> Tensor:
    """Where the mean of half squared errors plus the penalty is least, in closed form: [1, 4]."""
    matrix, vector = x.T @ x / len(x), x.T @ y / len(x)
    for anchor in ewc.anchors if ewc else ():
        matrix = matrix + anchor.fisher["weight"].flatten().diag()
        vector = vector + (anchor.fisher["weight"] * anchor.parameters["weight"]).T
    return torch.linalg.solve(matrix, vector).T


def in_sequence(mode: str, tasks: list[tuple[Tensor, Tensor]]) -> Tensor:
    model, ewc = nn.Linear(4, 1, bias=False).double(), EWC(mode=mode)
    for x, y in tasks:
        model.weight.data = solve(x, y, ewc)
        task, penalty = (model(x) - y).square().mean() / 2, ewc(model)
        gradient = torch.autograd.grad(task + penalty, model.weight)[0]
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
        ewc.consolidate(model, diagonal_fisher(model, [(x, y)], likelihood=Gaussian()))
    return model.weight.detach()


def test_online_learns_in_sequence_what_it_would_have_learnt_together() -> None:
    """With diagonal Gaussian posteriors, which are exact here, one anchor is right and several count tasks twice."""
    tasks = [regression(seed) for seed in range(3)]
    together = solve(torch.cat([x for x, _ in tasks]), torch.cat([y for _, y in tasks]), None)
    torch.testing.assert_close(in_sequence("online", tasks), together, rtol=1e-10, atol=1e-12)
    two = solve(torch.cat([x for x, _ in tasks[:2]]), torch.cat([y for _, y in tasks[:2]]), None)
    torch.testing.assert_close(in_sequence("separate", tasks[:2]), two, rtol=1e-10, atol=1e-12)
    assert (in_sequence("separate", tasks) - together).norm() > 0.01 * together.norm()


def test_before_any_task_has_ended_it_is_0_with_a_graph() -> None:
    model = make_model()
    value = EWC()(model)
    value.backward()
    assert value == 0
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
    assert EWC()(model.requires_grad_(False)) == 0


def test_as_a_term_it_takes_the_model_and_has_no_reference() -> None:
    model = make_model()
    ewc = consolidated(model)
    criterion = LossModule({"fit": losses.MSE(), "keep": Term(ewc, weight=10.0, balanced=False)})
    value = criterion(torch.ones(3), torch.zeros(3), model=model)
    torch.testing.assert_close(value, 1 + 10 * ewc(model).float(), check_dtype=False)
    bounds = criterion.terms["keep"].bounds()
    assert (bounds.lower, bounds.upper, bounds.reference) == (0, math.inf, None)
    with pytest.raises(ValueError, match="weight.*at least 0, found -1"):
        Term(ewc, weight=-1.0)


def test_parameters_without_importance_are_free() -> None:
    model, ewc = make_model(), EWC()
    ewc.consolidate(model, {"0.weight": torch.ones(3, 2, 2)})
    moved(model)
    ewc(model).backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"0.weight"}


def test_a_head_that_comes_later_is_anchored_from_then_on() -> None:
    model, ewc = make_model(), EWC()
    ewc.consolidate(model, importances(model))
    old = importances(model)
    model.append(nn.Linear(4, 2).double())
    ewc.consolidate(moved(model), {"4.bias": torch.ones(2)})
    assert {*ewc.importance} == {name for name, _ in model.named_parameters()} - {"4.weight"}
    assert torch.equal(ewc.importance["3.weight"], old["3.weight"])
    assert ewc(model) == 0


@pytest.mark.parametrize("mode", ["online", "separate"])
def test_the_state_loads_with_weights_only(mode: str) -> None:
    model = make_model()
    criterion = LossModule({"keep": Term(consolidated(model, mode=mode), balanced=False), "fit": losses.MSE()})
    file = io.BytesIO()
    torch.save(criterion.state_dict(), file)
    file.seek(0)
    fresh = LossModule({"keep": Term(EWC(mode=mode), balanced=False), "fit": losses.MSE()})
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh.terms["keep"].loss(model), criterion.terms["keep"].loss(model))
    fresh.terms["keep"].loss.consolidate(model, importances(model))


def test_anchors_are_copies() -> None:
    model, ewc = make_model(), EWC()
    given = importances(model)
    ewc.consolidate(model, given)
    moved(model)
    before = ewc(model).item()
    for importance in given.values():
        importance.zero_()
    assert ewc(model) == before > 0
    assert not ewc.state_dict()["_extra_state"]["anchors"][0]["parameters"]["0.weight"].requires_grad


def test_a_task_may_end_in_inference_mode() -> None:
    model, ewc = make_model(), EWC()
    with torch.inference_mode():
        for task in range(2):
            ewc.consolidate(model, importances(model, task))
    moved(model)
    ewc(model).backward()
    torch.testing.assert_close(
        model[3].bias.grad, ewc.importance["3.bias"] * (model[3].bias - ewc.anchors[0].parameters["3.bias"]).detach()
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda ewc: pickle.loads(pickle.dumps(ewc))])
def test_copies_and_print(copied) -> None:
    model = make_model()
    ewc = consolidated(model, mode="separate")
    assert torch.equal(copied(ewc)(model), ewc(model))
    assert repr(ewc) == "EWC(mode='separate')"


def test_it_stays_in_float32() -> None:
    model = make_model()
    ewc = consolidated(model)
    exact = ewc(model)
    criterion = LossModule({"keep": ewc}).half()
    assert criterion.terms["keep"].loss.anchors[0].fisher["0.weight"].dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ewc(model), exact, rtol=0, atol=0)
    half = make_model().bfloat16()
    small = EWC()
    small.consolidate(half, {name: torch.full_like(p, 1e-6) for name, p in half.named_parameters()})
    half[3].weight.data += 2.0**-6
    assert small(half).dtype == torch.float32
    assert small(half).item() == pytest.approx(24 * 1e-6 * 2.0**-12 / 2, rel=0.2)


def test_compiled_is_eager() -> None:
    model = make_model()
    for ewc in (EWC(), consolidated(model, mode="separate")):
        assert torch.allclose(torch.compile(ewc, fullgraph=True, backend="aot_eager")(model), ewc(model), rtol=1e-14)


def test_anchors_move_to_the_devices_of_the_model() -> None:
    ewc = consolidated(make_model())
    ewc(make_model().to("meta"))
    assert {tensor.device.type for tensor in ewc.anchors[0].fisher.values()} == {"meta"}


def fitting(model: nn.Module, **changed: Tensor) -> dict[str, Tensor]:
    return importances(model) | {name.replace("_", "."): tensor for name, tensor in changed.items()}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: consolidated(make_model())(nn.Sequential(*make_model()[:3], nn.Linear(6, 5))), "The parameter '3.weight' has the shape (5, 6) in the model and (4, 6) in an anchor. Is it of another"),
        (lambda: consolidated(make_model())(make_model()[:3]), "The model has no parameter '3.weight', which an anchor has."),
        (lambda: consolidated(make_model())(nn.ModuleDict({"net": make_model()})), "another module than the one whose importances were taken? Did you mean 'net.0.weight'?"),
        (lambda: EWC().consolidate(make_model(), {"0.wieght": torch.ones(1)}), "no parameter '0.wieght', which `fisher` has"),
        (lambda: EWC().consolidate(make_model(), {"3.bias": torch.ones(1, 4)}), "'3.bias' has the shape (4,) in the model and (1, 4) in `fisher`"),
        (lambda: EWC().consolidate(make_model(), {"3.bias": torch.tensor([1.0, -2.0, 0, 0])}), "`fisher['3.bias']` must be at least 0 and finite everywhere, found -2.0"),
        (lambda: EWC().consolidate(make_model(), {"3.bias": torch.tensor([1.0, math.nan, 0, 0])}), "finite everywhere, found nan"),
        (lambda: EWC(mode="onlien"), "`mode` must be one of 'online', 'separate', found 'onlien'"),
        (lambda: EWC(gamma=1.5), "`gamma` must be at least 0 and at most 1, found 1.5"),
        (lambda: EWC(mode="separate", gamma=0.9), "`gamma` must be 1 with mode='separate'"),
        (lambda: path_importance(torch.ones(1), torch.ones(1), damping=0.0), "`damping` must be above 0"),
        (lambda: stable_penalty_step(-1.0, 0.1, {}), "`strength` must be at least 0, found -1.0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("product", "stable"), [(1.9, True), (2.1, False)])
def test_the_warning_comes_where_gradient_descent_diverges(product: float, stable: bool) -> None:
    model, ewc = nn.Linear(2, 1, bias=False).double(), EWC()
    ewc.consolidate(model, {"weight": torch.tensor([[1.0, 40.0]])})
    strength, lr = 5.0, product / 5.0 / 40.0
    moved(model)
    first = ewc(model).item()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(200):
        optimizer.zero_grad()
        (strength * ewc(model)).backward()
        optimizer.step()
    assert (ewc(model) < first) == stable
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert stable_penalty_step(strength, lr, ewc.importance) == stable
    assert [str(w.message) for w in caught] == ([] if stable else [
        "The penalty's own gradient step overshoots: strength 5 * lr 0.0105 * greatest importance 40 (in 'weight') = 2.1, above 2. Plain SGD diverges: lower one."
    ])  # fmt: skip


def test_nothing_to_keep_is_stable() -> None:
    assert stable_penalty_step(1e9, 1.0, EWC().importance)


def test_the_path_integral_is_the_fall_of_the_loss_and_gives_half_the_curvature() -> None:
    """Along gradient descent on a diagonal quadratic function in small steps, from anywhere to its minimum."""
    curvature, credit = torch.tensor([0.5, 2.0, 8.0]).double(), torch.zeros(3).double()
    start = weight = torch.tensor([1.0, -2.0, 0.5]).double()
    for _ in range(20_000):
        step = -1e-3 * curvature * weight
        credit, weight = path_integral(credit, curvature * weight, step), weight + step
    assert credit.sum() == pytest.approx(float((curvature * start.square()).sum() / 2), rel=5e-3)
    importance = path_importance(credit, weight - start, damping=1e-9)
    torch.testing.assert_close(2 * importance, curvature, rtol=5e-3, atol=0)


def test_importances_of_a_path_are_never_negative() -> None:
    importance = path_importance(torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([0.1, 0.0, 0.0]), damping=0.1)
    torch.testing.assert_close(importance, torch.tensor([0.0, 0.0, 30.0]))


def test_an_anchored_square_has_its_least_at_the_anchor() -> None:
    theta = torch.tensor([1.0, 2.0], requires_grad=True)
    values = anchored_square(theta, torch.tensor([1.0, 0.0]), torch.tensor([7.0, 3.0]))
    values.sum().backward()
    assert values.tolist() == [0.0, 6.0]
    assert theta.grad.tolist() == [0.0, 6.0]
