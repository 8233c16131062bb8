import pytest
import torch
from torch.nn import Parameter, functional

from llama_avsr.model.int8 import Int8Linear


@pytest.fixture
def layer() -> Int8Linear:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (5, 8), generator=generator, dtype=torch.int8)
    bias = Parameter(torch.randn(5, generator=generator), requires_grad=False)
    return Int8Linear(weight, torch.rand(5, generator=generator) + 0.5, bias)


def test_a_weight_is_its_integer_times_the_scale_of_its_row() -> None:
    layer = Int8Linear(torch.tensor([[127, -127], [0, 1]], dtype=torch.int8), torch.tensor([2.0, 12.7]))
    torch.testing.assert_close(layer.dequantised(), torch.tensor([[2.0, -2.0], [0.0, 0.1]]))
    torch.testing.assert_close(layer(torch.tensor([1.0, 10.0])), torch.tensor([-18.0, 1.0]))


def test_gradients_are_those_of_a_linear_layer(layer: Int8Linear) -> None:
    x = torch.randn(2, 3, 8, requires_grad=True)
    target = torch.randn(2, 3, 5)
    (layer(x) * target).sum().backward()
    found, x.grad = x.grad, None
    (functional.linear(x, layer.dequantised(), layer.bias) * target).sum().backward()
    torch.testing.assert_close(found, x.grad)
    assert not layer.weight.requires_grad


def test_what_is_kept_for_the_backward_pass_is_packed(layer: Int8Linear) -> None:
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(2, 8, requires_grad=True))
    assert [(t.dtype, t.shape) for t in kept if t.dim() == 2] == [(torch.int8, (5, 8))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_computation(layer: Int8Linear, dtype: torch.dtype) -> None:
    x = torch.randn(4, 8, dtype=dtype, requires_grad=True)
    assert layer(x).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        expected = functional.linear(x, layer.dequantised(), layer.bias)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, atol=0.05, rtol=0.02)
    y.sum().backward()
    assert x.grad.dtype == dtype


def test_scales_move_with_the_layer_and_stay_out_of_its_state(layer: Int8Linear) -> None:
    assert set(layer.state_dict()) == {"weight", "bias"}
    moved = torch.nn.Sequential(layer).to("meta")[0]
    assert {t.device.type for t in (moved.weight, moved.scales, moved.bias)} == {"meta"}
