"""Scoring a file of hypotheses, whoever made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from datamodules.files import write_whole
from llama_avsr.evaluation.breakdown import Share, by_length, by_speaker
from llama_avsr.evaluation.comparison.pairing import Paired, pair
from llama_avsr.evaluation.confusions import Confusions, Lips, confusions
from llama_avsr.evaluation.hypotheses import Texts, nist
from llama_avsr.evaluation.metrics import Result, metric, score
from llama_avsr.evaluation.metrics.sclite import sclite_edits
from llama_avsr.evaluation.normalisation import Normalisation
from llama_avsr.evaluation.report import finite, versions
from llama_avsr.evaluation.speakers import speakers_of

SCORE_FILE = "score.json"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What was found in a file of hypotheses."""

    source: str
    paired: Paired
    speakers: Sequence[str] | None
    normalisation: str
    result: Result
    alignment: str
    """What chose among the alignments."""
    confusions: Confusions | None
    """Of recognition."""


def scored(
    texts: Texts,
    references: Texts | None,
    *,
    metric_name: str,
    normalisation: Normalisation,
    speaker_pattern: str | None = None,
    lips: Lips | None = None,
    as_sclite: bool = False,
) -> Scored:
    """references: where `texts` has none. as_sclite: count word errors along sclite's alignments.

    Raises ValueError for clips without references.
    """
    paired = pair([texts], references, normalisation.apply)
    speakers = speakers_of(paired.ids, speaker_pattern)
    written = paired.hypotheses[0]
    return Scored(
        source=texts.source,
        paired=paired,
        speakers=speakers,
        normalisation=normalisation.said,
        result=(
            score(paired.references, written, speakers, count_words=sclite_edits)
            if as_sclite
            else metric(metric_name).score(paired.references, written, speakers)
        ),
        alignment="sclite" if as_sclite else "fewest errors",
        confusions=confusions(paired.references, written, lips) if metric_name == "wer" else None,
    )


def screen(found: Scored, num_shown: int = 10) -> str:
    lines = [
        f"{found.source}, {len(found.paired.ids)} clips; normalisation: {found.normalisation}"
        + ("; counts of sclite" if found.alignment == "sclite" else ""),
        *(f"  {line}" for line in found.result.headline()),
        *(f"  note    {note}" for note in (*found.paired.notes, *found.result.notes)),
    ]
    speakers = by_speaker(found.result, found.speakers)
    for title, shares in (("By length", by_length(found.result)), ("By speaker, the worst first", speakers)):
        lines += _table(title, shares, num_shown)
    if found.confusions is not None:
        lines += _confused(found.confusions, num_shown)
    return "\n".join(lines)


def write(folder: Path, found: Scored) -> None:
    """`score.json`, and the texts in NIST's formats; each whole or not at all."""
    ids, references, hypotheses = found.paired.ids, found.paired.references, found.paired.hypotheses[0]
    text = json.dumps(finite(_as_dict(found)), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / SCORE_FILE, text + "\n")
    write_whole(folder / "reference.trn", nist.trn(ids, references))
    write_whole(folder / "hypothesis.trn", nist.trn(ids, hypotheses))
    seconds = [length for length in found.paired.seconds if length is not None]
    if len(seconds) == len(ids):
        write_whole(folder / "reference.stm", nist.stm(ids, references, seconds))
        write_whole(folder / "hypothesis.ctm", nist.ctm(ids, hypotheses, seconds))


def _as_dict(found: Scored) -> dict[str, object]:
    said: dict[str, object] = {
        "source": found.source,
        "metric": found.result.metric,
        "normalisation": found.normalisation,
        "alignment": found.alignment,
        "num_clips": len(found.paired.ids),
        **found.result.details(),
        "by_length": [asdict(share) for share in by_length(found.result)],
        "by_speaker": [asdict(share) for share in by_speaker(found.result, found.speakers)],
        "notes": [*found.paired.notes, *found.result.notes],
        "versions": versions(),
    }
    if (own := found.confusions) is not None:
        said["confusions"] = [
            {"said": pair[0], "written": pair[1], "count": count, "alike_on_lips": pair in own.alike}
            for pair, count in own.substitutions.most_common()
        ]
        said["deleted_words"] = dict(own.deletions.most_common())
        said["inserted_words"] = dict(own.insertions.most_common())
        said["alike_on_lips_percent"] = own.share_alike
        said["alike_by_chance_percent"] = own.share_by_chance
    return said


def _table(title: str, shares: Sequence[Share], num_shown: int) -> list[str]:
    if not shares[:num_shown]:
        return []
    width = max(len(share.name) for share in shares[:num_shown])
    lines = ["", title]
    for share in shares[:num_shown]:
        low, high = share.interval_95
        lines.append(
            f"  {share.name:{width}}  {share.wer:6.2f} %  [{low:.2f}, {high:.2f}]  "
            f"{share.num_errors} in {share.num_words} words, {share.num_clips} clips"
        )
    left = len(shares) - num_shown
    return [*lines, *([f"  and {left} more"] if left > 0 else [])]


def _confused(found: Confusions, num_shown: int) -> list[str]:
    lines = ["", "Confusions"] if found.substitutions else []
    if found.share_alike is not None:
        lines.append(
            f"  {found.share_alike:.1f} % of the substitutions look alike on the lips; "
            f"{found.share_by_chance:.1f} % would by chance"
        )
    for (said, written), count in found.substitutions.most_common(num_shown):
        alike = "  alike on the lips" if (said, written) in found.alike else ""
        lines.append(f"  {count:5d}  {said} -> {written}{alike}")
    for title, words in (("Deleted", found.deletions), ("Inserted", found.insertions)):
        if words:
            named = ", ".join(f"{word} {count}" for word, count in words.most_common(num_shown))
            lines.append(f"  {title}: {named}")
    return lines
