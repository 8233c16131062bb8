"""Checkpoints on the Hugging Face hub: `user/model`, or `user/model@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llama_avsr.checkpoints.folder import CONFIG, WEIGHTS, WORDS

_NAME = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w.-][\w./-]*))?")


@dataclass(frozen=True)
class Fetched:
    """A checkpoint of the hub in the local cache."""

    name: str
    revision: str
    """The commit."""
    folder: Path


def is_hub_name(text: str) -> bool:
    """Whether a text can be a model of the hub.

    >>> is_hub_name("user/model@v1"), is_hub_name("runs/first/average"), is_hub_name("./model")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def fetch(text: str) -> Fetched:
    """Download a model of the hub, or take the cached copy of it where there is no network.

    Raises ValueError where neither can be had.
    """
    match = _NAME.fullmatch(text)
    name, revision = match["name"], match["revision"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS, WORDS]))
    except GatedRepoError:
        raise ValueError(
            f"{text}: the hub gives it to those who have accepted its terms: do so on its page, then log in "
            "with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ValueError(
            f"{text}: found no such folder, and the hub has no such model, or it is private: check the name, "
            "or log in with `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise ValueError(f"{text}: the hub has {name}, but no revision {revision}; see its page") from None
    except Exception as error:  # whatever its HTTP client raises
        raise ValueError(
            f"{text}: found no such folder; if it is a model of the hub, it is not in the local cache, and "
            f"the hub cannot be reached ({type(error).__name__}): try again with network, or give its folder"
        ) from None
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(
            f"{text}: the hub's model is not one of this project: it has no {CONFIG} and {WEIGHTS}; expected "
            "one that `llama-avsr push` uploaded"
        )
    return Fetched(name, folder.name, folder)


@dataclass(frozen=True)
class Pushed:
    """What an upload has made."""

    url: str
    revision: str
    """The commit."""


def push(folder: Path, name: str, branch: str | None = None, private: bool = False) -> Pushed:
    """Upload a folder as the model `user/model`; the repository and the branch are made where they are not.

    Raises ValueError where the hub does not let one.
    """
    api = HfApi()
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
        if branch is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        done = api.upload_folder(
            repo_id=name, folder_path=folder, revision=branch, commit_message="Upload with llama-avsr push"
        )
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
            raise ValueError(
                f"{name}: the hub does not let you write there: log in with `hf auth login`, with a token "
                "that may write, and check the user's name"
            ) from None
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"{name}: the hub refused the upload ({first})") from None
    except Exception as error:  # whatever its HTTP client raises
        raise ValueError(f"{name}: the hub cannot be reached ({error}); try again with network") from None
    return Pushed(f"{api.endpoint}/{name}", done.oid)
