import csv

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from llama_avsr.evaluation import plots

CURVES = {
    "audio": {-5: (51, 47, 55), 0: (28, 25, 31), 5: (16, 14, 18), "clean": (11, 9, 13)},
    "video": {"clean": (19, 17, 21)},
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved = []
    savefig = Figure.savefig

    def keep(figure, *args, **kwargs):
        saved.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def write_metrics(path, num_steps=100):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "step", "train/loss", "train/sink_loss", "val/loss"])
        writer.writeheader()
        for step in range(num_steps):
            row = {"epoch": 0, "step": step, "train/loss": 3 - step / 50, "train/sink_loss": 9}
            writer.writerow(row)
            if step % 25 == 24:
                writer.writerow({"epoch": 0, "step": step, "val/loss": 3 - step / 60})
    return path


def test_wer_vs_snr_draws_every_number(tmp_path, figures):
    path = tmp_path / "made" / "wer.png"
    plots.wer_vs_snr(CURVES, path, note="difficulty of the synthetic lips was chosen")
    assert np.asarray(Image.open(path).convert("L")).std() > 10
    (axes,) = figures[0].axes
    assert "(%)" in axes.get_ylabel()
    assert "(dB)" in axes.get_xlabel()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["\u22125", "0", "5", "clean"]
    drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()])
    assert set(drawn) >= {51, 28, 16, 11, 19}
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"audio", "video"}
    assert "difficulty of the synthetic lips was chosen" in texts(figures[0])
    assert axes.get_ylim()[0] == 0


def test_panels_share_scale_and_colours(tmp_path, figures):
    plots.wer_vs_snr_panels({"seen": {"video": CURVES["video"]}, "unseen": CURVES}, tmp_path / "p.png")
    left, right = figures[0].axes
    assert left.get_ylim() == right.get_ylim()
    assert (left.get_title(), right.get_title()) == ("seen", "unseen")
    colour_of = {line.get_label(): line.get_color() for line in right.get_lines()}
    assert {line.get_label(): line.get_color() for line in left.get_lines()}["video"] == colour_of["video"]
    assert {text.get_text() for text in right.get_legend().get_texts()} == {"audio", "video"}


@pytest.mark.parametrize("curves", [{"audio": {0: (10, 9, 11)}}, {"audio": {"clean": (10, 9, 11)}}])
def test_single_points(tmp_path, curves):
    plots.wer_vs_snr(curves, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no word error rate"):
        plots.wer_vs_snr({"audio": {}}, tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


def test_loss_curve(tmp_path, figures):
    metrics = write_metrics(tmp_path / "metrics.csv")
    plots.loss_curve({"audio": metrics, "video": metrics}, tmp_path / "loss.pdf")
    (axes,) = figures[0].axes
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"audio, train loss", "audio, val loss", "video, train loss", "video, val loss"}
    assert "nats" in axes.get_ylabel()
    assert (tmp_path / "loss.pdf").read_bytes().startswith(b"%PDF")


def test_series_skip_blank_cells(tmp_path):
    series = plots.read_series(write_metrics(tmp_path / "metrics.csv"))
    assert series.keys() == {"train/loss", "val/loss"}
    assert series["val/loss"][0].tolist() == [24, 49, 74, 99]
    assert len(series["train/loss"][1]) == 100
    only = plots.read_series(tmp_path / "metrics.csv", ["train/sink_loss"])
    assert set(only["train/sink_loss"][1]) == {9}


def test_missing_column_names_those_there(tmp_path):
    metrics = write_metrics(tmp_path / "metrics.csv")
    with pytest.raises(ValueError, match=r"no values of lost; columns: epoch, step, train/loss"):
        plots.read_series(metrics, ["lost"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="no values of a loss"):
        plots.read_series(tmp_path / "empty.csv")


def test_running_mean_keeps_lines_straight():
    line = np.arange(50) * 0.5 + 1
    assert plots.running_mean(line, 7) == pytest.approx(line)
    spike = np.zeros(21)
    spike[10] = 7
    assert plots.running_mean(spike, 3).max() == pytest.approx(1)


def test_global_matplotlib_state_is_untouched(tmp_path):
    before = dict(matplotlib.rcParams)
    plots.wer_vs_snr(CURVES, tmp_path / "wer.png")
    assert dict(matplotlib.rcParams) == before
