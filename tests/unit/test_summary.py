import pytest
import torch
from torch import nn

from llama_avsr.model.summary import summarise


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).requires_grad_(False)
        self.projector = nn.Linear(8, 16)
        self.llm = nn.ModuleDict({"embed": nn.Embedding(10, 16), "lora": nn.Linear(16, 2, bias=False)})
        self.llm["embed"].to(torch.bfloat16).requires_grad_(False)


def test_counts_and_megabytes():
    summary = summarise(Model())
    encoder, projector, llm = summary.rows
    assert [row.name for row in summary.rows] == ["encoder", "projector", "llm"]
    assert (encoder.trained, encoder.frozen) == (0, 4 * 8 + 8 + 16)
    assert encoder.num_bytes == 4 * (56 + 16) + 8  # running mean and variance, and an int64 counter
    assert (projector.trained, projector.frozen, projector.kind) == (8 * 16 + 16, 0, "Linear")
    assert (llm.trained, llm.frozen) == (32, 160)
    assert llm.dtypes == ("bfloat16", "float32")
    assert (llm.num_bytes, llm.trained_bytes) == (2 * 160 + 4 * 32, 4 * 32)
    assert summary.total.parameters == sum(row.parameters for row in summary.rows)


def test_shared_weights_count_once():
    model = Model()
    model.head = nn.Linear(16, 10, bias=False)
    model.head.weight = model.llm["embed"].weight
    summary = summarise(model)
    assert summary.rows[-1].name == "head"
    assert summary.rows[-1].parameters == 0
    assert summary.total.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_named_parts_and_the_rest():
    model = Model()
    model.scale = nn.Parameter(torch.ones(3))
    rows = summarise(model, {"LLM": model.llm, "encoder": model.encoder}).rows
    assert [row.name for row in rows] == ["LLM", "encoder", "(rest)"]
    assert rows[-1].trained == 8 * 16 + 16 + 3


def test_packed_weights_count_as_what_they_stand_for():
    model = nn.Module()
    weight = nn.Parameter(torch.zeros(32, dtype=torch.uint8), requires_grad=False)
    weight.quant_state = type("State", (), {"shape": torch.Size([8, 8])})()
    model.llm = nn.Module()
    model.llm.weight = weight
    row = summarise(model).rows[0]
    assert (row.frozen, row.num_bytes) == (64, 32)


def test_table_is_aligned():
    lines = str(summarise(Model())).splitlines()
    assert lines[0].split() == ["part", "class", "parameters", "trained", "frozen", "dtype", "MB"]
    column = lines[0].index("parameters") + len("parameters")
    rows = [line for line in lines[2:-3] if line]
    assert len(rows) == 3
    assert {line[column - 1].isdigit() and line[column] == " " for line in rows} == {True}
    assert lines[-2].split()[0] == "total"
    share = 100 * (144 + 32) / summarise(Model()).total.parameters
    assert f"{share:.2f} %" in lines[-1]


def test_an_empty_model():
    assert "total" in str(summarise(nn.Module()))
    assert summarise(nn.Module()).total.parameters == pytest.approx(0)
