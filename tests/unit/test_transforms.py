"""Video and audio transforms: order, values, and that chance comes from the generator alone."""

import pytest
import torch

from datamodules.defaults import CLEAN_SNR_DB, TRAINING_SNRS_DB
from datamodules.seeding import generator
from datamodules.transforms import GREY_MEAN, GREY_STD, AudioTransform, VideoTransform, cut_or_pad, time_mask

BLACK = -GREY_MEAN / GREY_STD


def frames(num_frames, height=96, width=96, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (num_frames, height, width), generator=rng, dtype=torch.uint8)


def speech(num_samples=32_000, seed=0):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def test_generators_depend_on_their_parts_alone():
    def draw(*parts):
        return torch.rand(3, generator=generator(*parts)).tolist()

    assert draw(1, 2, "a") == draw(1, 2, "a")
    assert (
        len(
            {tuple(draw(*parts)) for parts in [(1, 2, "a"), (1, 3, "a"), (2, 2, "a"), (1, 2, "b"), (12, "a")]}
        )
        == 5
    )
    # Frozen: a change here would change every seeded run.
    assert torch.randint(0, 1000, (3,), generator=generator(42, 0, "x")).tolist() == FROZEN


FROZEN = [843, 168, 292]


@pytest.mark.parametrize(("num_positions", "expected"), [(1, 1), (24, 1), (25, 1), (26, 2), (50, 2), (51, 3)])
def test_number_of_masks(num_positions, expected):
    most = 0
    for seed in range(200):
        masked = time_mask(torch.ones(num_positions), 2, 25, torch.Generator().manual_seed(seed)) == 0
        most = max(most, int(masked.sum()))  # window 2: each mask takes one position or none
    assert most == expected


def test_mask_lengths_are_below_the_window():
    lengths = set()
    for seed in range(300):
        masked = time_mask(torch.ones(20), 10, 25, torch.Generator().manual_seed(seed)) == 0
        lengths.add(int(masked.sum()))
        assert int(masked.diff().sum()) <= 2, "one stretch"
    assert lengths == set(range(10))


def test_the_test_crop_is_the_centre():
    clip = frames(4)
    video = VideoTransform(train=False)(clip, torch.Generator())
    assert video.shape == (4, 88, 88)
    assert video.dtype == torch.float32
    expected = (clip[:, 4:92, 4:92] / 255 - GREY_MEAN) / GREY_STD
    assert torch.allclose(video, expected, atol=1e-5)
    assert VideoTransform(train=False, augmentation="flip")(clip, torch.Generator()).equal(video)


def test_training_crops_each_clip_at_one_place():
    clip = frames(1).expand(30, -1, -1)
    places = set()
    for seed in range(80):
        video = VideoTransform(train=True, augmentation="none")(clip, generator(seed))
        assert (video == video[0]).all(), "the same place in every frame"
        grey = (video[0] * GREY_STD + GREY_MEAN).mul(255).round().byte()
        places |= {(y, x) for y in range(9) for x in range(9) if grey.equal(clip[0, y : y + 88, x : x + 88])}
    assert len(places) > 20
    assert {y for y, _ in places} == {x for _, x in places} == set(range(9))


def test_time_mask_is_black_before_normalising():
    video = VideoTransform(train=True)(frames(100), generator(0))
    black = (video - BLACK).abs().amax((1, 2)) < 1e-5
    assert 0 < black.sum() <= 4 * 9
    assert (video[~black] > BLACK + 1e-5).all()


def test_flip_is_a_fair_coin():
    clip = frames(2, 88, 88)
    plain = VideoTransform(train=False)(clip, torch.Generator())
    flipped = 0
    for seed in range(100):
        video = VideoTransform(train=True, augmentation="flip")(clip, torch.Generator().manual_seed(seed))
        assert video.equal(plain) or video.equal(plain.flip(-1))
        flipped += not video.equal(plain)
    assert 30 < flipped < 70
    with pytest.raises(ValueError, match="expected video augmentation time_mask, flip, none, found 'cutout'"):
        VideoTransform(train=True, augmentation="cutout")


def test_the_input_is_left_alone():
    clip, sound = frames(30), speech()
    before = clip.clone(), sound.clone()
    VideoTransform(train=True)(clip, generator(0))
    AudioTransform(train=True, noise=speech(500, 1), snrs_db=(0,))(sound, generator(0))
    assert clip.equal(before[0])
    assert sound.equal(before[1])


def test_cut_or_pad():
    assert cut_or_pad(torch.arange(5.0), 3).tolist() == [0, 1, 2]
    assert cut_or_pad(torch.arange(2.0), 4).tolist() == [0, 1, 0, 0]
    transform = AudioTransform(train=False)
    assert transform(speech(1000), generator(0), num_frames=2).shape == (1280,)
    assert transform(speech(1000), generator(0)).shape == (1000,)


def test_zero_db_is_zero_db():
    sound, noise = speech(), speech(100_000, 1)
    added = AudioTransform(train=False, noise=noise, snrs_db=(0,))(sound, generator(0)) - sound
    assert (added.square().sum() / sound.square().sum()).item() == pytest.approx(1, rel=1e-4)


def test_every_training_snr_is_drawn():
    sound, noise = speech(), speech(100_000, 1)
    transform = AudioTransform(train=False, noise=noise, snrs_db=TRAINING_SNRS_DB)
    found = set()
    for seed in range(150):
        added = transform(sound, generator(seed)) - sound
        energy = added.square().sum()
        found.add(
            CLEAN_SNR_DB if energy == 0 else round(10 * torch.log10(sound.square().sum() / energy).item())
        )
    assert found == set(TRAINING_SNRS_DB)


def test_noise_comes_from_anywhere_in_its_file_and_is_seeded():
    sound, noise = speech(500), speech(100_000, 1)
    transform = AudioTransform(train=False, noise=noise, snrs_db=(5,))
    assert transform(sound, generator(1)).equal(transform(sound, generator(1)))
    assert not transform(sound, generator(1)).equal(transform(sound, generator(2)))


def test_noise_is_added_after_the_masks():
    noisy = AudioTransform(train=True, noise=speech(9_999, 1), snrs_db=(0,))(speech(16_000), generator(3))
    masked = AudioTransform(train=True)(speech(16_000), generator(3)) == 0
    assert masked.sum() > 100
    assert (noisy[masked] != 0).all()


def test_snr_without_noise_is_an_error():
    with pytest.raises(ValueError, match="an SNR of -5 dB needs a noise file"):
        AudioTransform(train=False, snrs_db=(-5,))
    with pytest.raises(ValueError, match="expected at least one SNR"):
        AudioTransform(train=False, snrs_db=())
