"""Training stopped anywhere and resumed sees the clips it would have seen, in the same order and looks."""

from contextlib import nullcontext

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from datamodules.batch import TextIds
from datamodules.datamodule import DataModule
from tests.unit.media_files import write_corpus

LENGTHS = [10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25]
NUM_BATCHES = 5
NUM_EPOCHS = 2


def encode_text(utterance):
    return TextIds(prefix=torch.tensor([1]), suffix=torch.tensor([2]), target=torch.tensor([3]))


class Recorder(pl.LightningModule):
    """Notes which clips it is shown, and how they look."""

    def __init__(self, fails_at, asks_early):
        super().__init__()
        self.fails_at = fails_at
        self.asks_early = asks_early
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        if len(self.seen) == self.fails_at:
            raise RuntimeError("the power is gone")
        looks = batch.inputs["audio"].zeroed().values.double().sum(1).tolist()
        self.seen.append(list(zip([utterance.id[-4:] for utterance in batch.utterances], looks, strict=True)))
        return self.weight * len(batch)

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        if self.asks_early:
            # Makes Lightning ask for the loader, and iterate it, before it has restored its loops.
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    write_corpus(root, LENGTHS, video=False)
    return root


def fit(
    root,
    checkpoint_callback=None,
    ckpt_path=None,
    num_workers=0,
    fails_at=None,
    asks_early=True,
    seed=42,
    max_frames=50,
    **options,
):
    data = DataModule(
        root,
        media=("audio",),
        encode_text=encode_text,
        train_file="train.csv",
        val_file="train.csv",
        max_frames=max_frames,
        num_workers=num_workers,
        seed=seed,
    )
    model = Recorder(fails_at, asks_early)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[checkpoint_callback] if checkpoint_callback else [],
        enable_checkpointing=checkpoint_callback is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{"max_epochs": NUM_EPOCHS, **options},
    )
    with nullcontext() if fails_at is None else pytest.raises(RuntimeError, match="the power is gone"):
        trainer.fit(model, data, ckpt_path=ckpt_path)
    return model.seen


def clips(batches):
    return [name for batch in batches for name, _ in batch]


SAVE = {
    "after_steps": {"every_n_train_steps": 1},
    "after_validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    "after_epochs": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
}


@pytest.mark.parametrize("asks_early", [True, False])
@pytest.mark.parametrize("when", SAVE)
@pytest.mark.parametrize(
    "limit", [{}, {"max_epochs": -1, "max_steps": NUM_EPOCHS * NUM_BATCHES}, {"accumulate_grad_batches": 2}]
)
def test_resumed_runs_see_what_was_left(corpus, tmp_path, when, limit, asks_early):
    def saving():
        return ModelCheckpoint(tmp_path, filename="{step}-{epoch}", save_top_k=-1, monitor=None, **SAVE[when])

    options = {
        "val_check_interval": 0.5 if when == "after_validation" else 1.0,
        "asks_early": asks_early,
        **limit,
    }
    whole = fit(corpus, saving(), **options)
    assert len(whole) == NUM_EPOCHS * NUM_BATCHES
    first, second = whole[:NUM_BATCHES], whole[NUM_BATCHES:]
    assert sorted(clips(first)) == sorted(clips(second)) == [f"{i:04d}" for i in range(len(LENGTHS))]
    assert first != second
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) >= 2
    for path in checkpoints:
        loops = torch.load(path, weights_only=False)["loops"]["fit_loop"]
        num_seen = loops["epoch_loop.batch_progress"]["total"]["processed"]
        assert fit(corpus, ckpt_path=path, **options) == whole[num_seen:], path


def test_resume_with_workers(corpus, tmp_path):
    whole = fit(
        corpus,
        ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=3),
        num_workers=2,
    )
    assert whole == fit(corpus), "workers change nothing"
    path = tmp_path / "step=3.ckpt"
    assert fit(corpus, ckpt_path=path, num_workers=2) == whole[3:]


@pytest.mark.parametrize("fails_at", [0, 3, NUM_BATCHES - 1, NUM_BATCHES, NUM_BATCHES + 2])
def test_a_step_that_failed_is_taken_again(corpus, tmp_path, fails_at):
    fit(corpus, OnExceptionCheckpoint(tmp_path), fails_at=fails_at)
    [path] = tmp_path.glob("*.ckpt")
    assert fit(corpus, ckpt_path=path) == fit(corpus)[fails_at:]


def test_an_epoch_cut_short_by_a_limit_counts_as_one(corpus, tmp_path):
    options = {"limit_train_batches": 3}
    whole = fit(
        corpus, ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1), **options
    )
    assert len(whole) == 6
    uncut = fit(corpus)
    assert whole == uncut[:3] + uncut[NUM_BATCHES : NUM_BATCHES + 3]
    for num_seen in (2, 3, 4):
        assert fit(corpus, ckpt_path=tmp_path / f"step={num_seen}.ckpt", **options) == whole[num_seen:]


def test_resuming_among_other_batches_warns(corpus, tmp_path, caplog):
    fit(corpus, ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=3))
    fit(corpus, ckpt_path=tmp_path / "step=3.ckpt", asks_early=False)
    assert "different batches" not in caplog.text
    fit(corpus, ckpt_path=tmp_path / "step=3.ckpt", asks_early=False, seed=1)
    assert "in the middle of an epoch with different batches" in caplog.text
    rest = fit(corpus, ckpt_path=tmp_path / "step=3.ckpt", asks_early=False, max_frames=500)
    assert len(rest) >= 1, "fewer batches than were trained on: it goes on with whole epochs"
