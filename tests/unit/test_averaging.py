import weakref

import pytest
import torch
from safetensors.torch import save_file

from llama_avsr.checkpoints.averaging import average, average_files


def test_mean_of_floats_and_counters():
    states = [{"w": torch.full((2, 3), float(i)), "n": torch.tensor(i)} for i in (1, 2, 6)]
    found = average(states)
    torch.testing.assert_close(found["w"], torch.full((2, 3), 3.0))
    assert found["n"].dtype == torch.int64
    assert found["n"].item() == 3
    assert average([{"n": torch.tensor(100)}, {"n": torch.tensor(107)}])["n"].item() == 103


def test_bfloat16_is_summed_in_float32():
    # In bfloat16, 256 + 1 is 256: a running bfloat16 sum would lose every 1.
    values = [256.0] + [1.0] * 255
    found = average({"w": torch.tensor([value], dtype=torch.bfloat16)} for value in values)["w"]
    assert found.dtype == torch.bfloat16
    assert found.item() == pytest.approx(sum(values) / len(values), rel=2**-8)


def test_float64_keeps_its_precision():
    found = average([{"w": torch.tensor(1 + 1e-12, dtype=torch.float64)}] * 2)["w"]
    assert found.item() == 1 + 1e-12


def test_inputs_are_untouched_and_ties_counted_once():
    tied = torch.ones(3)
    states = [{"a": tied, "b": tied}, {"a": tied * 3, "b": tied * 3}]
    found = average(states)
    assert found["a"].tolist() == found["b"].tolist() == [2.0] * 3
    assert found["a"].data_ptr() != found["b"].data_ptr()
    assert tied.tolist() == [1.0] * 3
    assert average([{"a": tied}])["a"].data_ptr() != tied.data_ptr()


def test_parameters_come_out_without_gradients():
    found = average([{"a": torch.nn.Parameter(torch.ones(2))}])["a"]
    assert not found.requires_grad


def test_one_state_is_held_at_a_time():
    alive: list[weakref.ref] = []

    def made(value):
        state = {"w": torch.full((4,), float(value))}
        alive.append(weakref.ref(state["w"]))
        return state

    def states():
        for value in range(4):
            assert all(ref() is None for ref in alive)
            yield made(value)

    assert average(states())["w"].tolist() == [1.5] * 4
    assert len(alive) == 4


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": torch.ones(2)}, "lacks b"),
        ({"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(1)}, "has c"),
        ({"a": torch.ones(3), "b": torch.ones(2)}, r"a has shape \[3\]"),
    ],
)
def test_misfits_are_named(tmp_path, other, message):
    state = {"a": torch.ones(2), "b": torch.ones(2)}
    with pytest.raises(ValueError, match=message):
        average([state, other])
    paths = [tmp_path / "epoch=1.safetensors", tmp_path / "epoch=2.safetensors"]
    for path, tensors in zip(paths, (state, other), strict=True):
        save_file({key: value.clone() for key, value in tensors.items()}, path)
    with pytest.raises(ValueError, match=r"epoch=2\.safetensors"):
        average_files(paths)


def test_files(tmp_path):
    paths = []
    for value in (1.0, 2.0):
        paths.append(tmp_path / f"{value}.safetensors")
        save_file({"w": torch.full((2,), value)}, paths[-1])
    assert average_files(paths)["w"].tolist() == [1.5, 1.5]


def test_nothing_to_average():
    with pytest.raises(ValueError, match="no checkpoint"):
        average_files([])
