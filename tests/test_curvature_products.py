"""Products with the Hessian and the Gauss-Newton matrix: exact, and without a trace in the model."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from curvature_problems import PROBLEMS, Problem, mlp, vector_of
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from lightning_losses.curvature.directions import dot, flattened, norm, normal_like, rademacher_like, unflattened
from lightning_losses.curvature.products import (
    HessianOperator,
    check_deterministic,
    gauss_newton_product,
    hessian_product,
)
from lightning_losses.curvature.quadratic_forms import gauss_newton_form
from lightning_losses.curvature.twice import differentiable_twice


def unit(problem: Problem, index: int) -> dict[str, torch.Tensor]:
    zero = torch.zeros(len(problem.hessian), dtype=torch.float64)
    zero[index] = 1.0
    return unflattened(zero, problem.parameters)


def dense(problem: Problem, product) -> torch.Tensor:
    return torch.stack([vector_of(product(unit(problem, i))) for i in range(len(problem.hessian))])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_hessian_products_give_the_exact_hessian(problem) -> None:
    operator = HessianOperator(problem.objective, problem.parameters)
    torch.testing.assert_close(dense(problem, operator.product), problem.hessian, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_gauss_newton_products_give_the_exact_matrix(problem) -> None:
    def product(v):
        return gauss_newton_product(problem.outputs, problem.loss, problem.parameters, v)

    torch.testing.assert_close(dense(problem, product), problem.gauss_newton, rtol=1e-10, atol=1e-12)


def test_gauss_newton_products_do_without_forward_mode(generator) -> None:
    layer, x = nn.LSTM(2, 3), torch.randn(4, 1, 2, generator=generator)  # float64 would take another kernel
    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    direction = normal_like(parameters, generator)

    def outputs(p):
        return functional_call(layer, dict(p), (x,))[0].flatten()

    with pytest.raises(NotImplementedError):
        gauss_newton_form(outputs, lambda z: z.square().sum(), parameters, direction)
    jacobian = torch.autograd.functional.jacobian(lambda v: outputs(unflattened(v, parameters)), flattened(parameters))
    product = gauss_newton_product(outputs, lambda z: z.square().sum(), parameters, direction)
    expected = 2 * jacobian.T @ jacobian @ vector_of(direction)
    torch.testing.assert_close(vector_of(product), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_quadratic_forms_are_exact(problem, generator) -> None:
    direction = normal_like(problem.parameters, generator)
    v = vector_of(direction)
    form = gauss_newton_form(problem.outputs, problem.loss, problem.parameters, direction)
    torch.testing.assert_close(form, v @ problem.gauss_newton @ v, rtol=1e-10, atol=1e-12)
    backwards = dict(reversed(direction.items()))
    assert gauss_newton_form(problem.outputs, problem.loss, problem.parameters, backwards) == form


def test_operator_knows_loss_and_gradient() -> None:
    problem = mlp()
    operator = HessianOperator(problem.objective, problem.parameters)
    gradient = torch.func.grad(problem.objective)(problem.parameters)
    torch.testing.assert_close(operator.loss, problem.objective(problem.parameters))
    torch.testing.assert_close(dict(operator.gradient), gradient)


def test_parameters_that_the_loss_does_not_reach_count_as_zeros() -> None:
    parameters = {"used": torch.ones(2), "linear": torch.ones(1), "unused": torch.ones(3)}
    product = hessian_product(lambda p: (p["used"] ** 3).sum() + p["linear"].sum(), parameters, parameters)
    assert {name: t.tolist() for name, t in product.items()} == {"used": [6, 6], "linear": [0], "unused": [0, 0, 0]}


def test_a_linear_loss_has_no_curvature() -> None:
    assert hessian_product(lambda p: p["w"].sum(), {"w": torch.ones(2)}, {"w": torch.ones(2)})["w"].tolist() == [0, 0]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(mode) -> None:
    problem = mlp()
    with mode():
        operator = HessianOperator(problem.objective, problem.parameters)
        product = operator.product(unit(problem, 0))
        gauss_newton = gauss_newton_product(problem.outputs, problem.loss, problem.parameters, unit(problem, 0))
        form = gauss_newton_form(problem.outputs, problem.loss, problem.parameters, unit(problem, 0))
    torch.testing.assert_close(vector_of(gauss_newton), problem.gauss_newton[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(form, problem.gauss_newton[0, 0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(vector_of(product), problem.hessian[0], rtol=1e-10, atol=1e-12)


def test_nothing_of_the_model_is_touched() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.ones(5, 3, dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    calls = []
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
        p.register_hook(lambda _: calls.append("tensor hook"))
        p.register_post_accumulate_grad_hook(lambda _: calls.append("accumulate hook"))
    model[0].bias.requires_grad_(False)
    random_state = torch.get_rng_state()

    def objective(p):
        return functional_call(model, dict(p), (x,)).square().mean()

    parameters = dict(model.named_parameters())
    probe = rademacher_like(parameters, torch.Generator().manual_seed(0))
    HessianOperator(objective, parameters).product(probe)
    gauss_newton_product(
        lambda p: functional_call(model, dict(p), (x,)), lambda z: z.square().mean(), parameters, probe
    )

    assert calls == []
    assert all((p.grad == 7).all() for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.testing.assert_close(dict(model.named_parameters()), before, rtol=0, atol=0)


def test_the_graph_is_freed_without_the_garbage_collector() -> None:
    kept = []

    def objective(p):
        inner = p["w"].sin()
        kept.append(weakref.ref(inner))
        return (inner * p["w"]).sum()

    gc.disable()
    try:
        operator = HessianOperator(objective, {"w": torch.ones(2)})
        operator.product({"w": torch.ones(2)})
        del operator
        assert kept[0]() is None
    finally:
        gc.enable()


ATTENTION = {"q": torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(0))}


def attention(p):
    return F.scaled_dot_product_attention(p["q"], p["q"], p["q"]).square().sum()


@pytest.mark.parametrize("what", ["attention", "compiled", "ctc", "reentrant"])
def test_what_cannot_be_differentiated_twice_says_what_to_do(what) -> None:
    log_probs, labels = ATTENTION["q"].view(8, 1, 8), torch.ones(1, 3, dtype=torch.long)
    lengths = torch.tensor([8]), torch.tensor([3])
    objective = {
        "attention": attention,
        "compiled": torch.compile(lambda p: (p["q"].sin() * p["q"]).sum(), backend="aot_eager"),
        "reentrant": lambda p: checkpoint(torch.sin, p["q"], use_reentrant=True).sum(),
        "ctc": lambda p: F.ctc_loss((p["q"].view(8, 1, 8) * log_probs).log_softmax(-1), labels, *lengths),
    }[what]
    with pytest.raises(RuntimeError, match=r"differentiable_twice.*SDPBackend\.MATH.*From torch"):
        hessian_product(objective, ATTENTION, ATTENTION)


def test_attention_can_be_differentiated_twice_by_the_math_kernel() -> None:
    direction = normal_like(ATTENTION, torch.Generator().manual_seed(1))
    with differentiable_twice():
        product = hessian_product(attention, ATTENTION, direction)
    step = 1e-3
    slopes = [
        torch.func.grad(attention)({"q": ATTENTION["q"].double() + sign * step * direction["q"]})["q"]
        for sign in (-1, 1)
    ]
    difference = (slopes[1] - slopes[0]) / (2 * step)
    torch.testing.assert_close(product["q"].double(), difference, rtol=1e-3, atol=1e-3)


def test_compiled_code_can_be_differentiated_twice_eagerly() -> None:
    compiled = torch.compile(lambda p: p["w"].sin().sum(), backend="aot_eager")
    point = {"w": torch.tensor([0.5])}
    with differentiable_twice():
        assert hessian_product(compiled, point, {"w": torch.ones(1)})["w"] == -torch.sin(point["w"])


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_alone_run_without_cudnn(layer) -> None:
    seen = {}

    class Look(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen[getattr(function, "__name__", "")] = torch.backends.cudnn.enabled
            return function(*args, **(kwargs or {}))

    recurrent, convolution = layer(3, 4), nn.Conv1d(3, 3, 1)
    assert torch.backends.cudnn.enabled
    with Look(), differentiable_twice():
        recurrent(convolution(torch.ones(2, 3, 5)).mT)
    name = "rnn_tanh" if layer is nn.RNN else layer.__name__.lower()
    assert (seen["conv1d"], seen[name]) == (True, False)
    assert torch.backends.cudnn.enabled


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match=r"^The size of tensor a"):
        hessian_product(lambda p: (p["w"] + torch.ones(3)).sum(), {"w": torch.ones(2)}, {"w": torch.ones(2)})


@pytest.mark.parametrize(
    ("objective", "rule"),
    [
        pytest.param(lambda p: p["w"].square(), "0-d tensor, found (2,)", id="not a scalar"),
        pytest.param(lambda p: torch.ones(()), "depends on the parameters", id="constant"),
        pytest.param(lambda p: p["w"].detach().sum(), "depends on the parameters", id="detached"),
    ],
)
def test_an_objective_that_is_no_loss_is_refused(objective, rule) -> None:
    with pytest.raises(ValueError, match="`objective` must be") as error:
        HessianOperator(objective, {"w": torch.ones(2)})
    assert rule in str(error.value)


def test_outputs_that_do_not_depend_on_the_parameters_are_refused() -> None:
    parameters = {"w": torch.ones(2)}
    with pytest.raises(ValueError, match="`outputs` must be a function of the parameters"):
        gauss_newton_product(lambda p: torch.ones(2), lambda z: z.square().sum(), parameters, parameters)


def test_an_objective_that_changes_is_refused_by_name() -> None:
    parameters = {"w": torch.ones(100)}
    check_deterministic(lambda p: p["w"].square().sum(), parameters)
    check_deterministic(lambda p: p["w"].sum() * torch.nan, parameters)
    with pytest.raises(ValueError, match=r"dropout.*augmentation.*BatchNorm in train mode"):
        check_deterministic(lambda p: F.dropout(p["w"]).sum(), parameters)


def test_directions_are_a_vector_space(generator) -> None:
    like = {"a": torch.zeros(2, 3), "b": torch.zeros((), dtype=torch.bfloat16), "c": torch.zeros(4).double()}
    a, b = normal_like(like, generator), normal_like(like, generator)
    expected = sum((a[n].double() * b[n].double()).sum() for n in like)
    torch.testing.assert_close(dot(a, b), expected)
    torch.testing.assert_close(norm(a), flattened(a).norm())
    assert {n: (t.shape, t.dtype) for n, t in a.items()} == {n: (t.shape, t.dtype) for n, t in like.items()}
    torch.testing.assert_close(unflattened(flattened(a), like), a, rtol=0, atol=0)


@pytest.mark.parametrize("draw", [rademacher_like, normal_like])
def test_probes_have_unit_variance_and_leave_the_global_randomness_alone(draw, generator) -> None:
    like, state = {"w": torch.zeros(200, 100)}, torch.get_rng_state()
    probe = draw(like, generator)["w"]
    assert torch.equal(torch.get_rng_state(), state)
    assert abs(float(probe.mean())) < 4 / 20000**0.5
    assert abs(float(probe.var()) - 1) < 4 * (2 / 20000) ** 0.5
    assert not torch.equal(probe, draw(like, generator)["w"])
