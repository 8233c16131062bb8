"""The memory that a training step takes, counted on the meta device: the very step, and no numbers.

What is on the meta device stands for the accelerator; lengths and token ids are on the CPU, as in training.
Memory that a kernel takes and gives back within itself is not seen.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from datamodules.batch import Batch
from llama_avsr.model.speech_llm import SpeechLLM

ACTIVATIONS, LOGITS, GRADIENTS, STATES = "activations", "logits", "gradients", "optimiser states"
NARROW = {functional.linear, functional.conv1d, functional.conv2d, torch.matmul, torch.bmm, torch.addmm}
NARROW |= {Tensor.matmul, Tensor.__matmul__, functional.scaled_dot_product_attention}
"""What autocast computes in 16 bits."""


class Ledger(TorchDispatchMode):
    """Bytes of the meta tensors that are made, and not yet freed, while it is active."""

    def __init__(self, vocabulary_size: int | None = None) -> None:
        """vocabulary_size: the width by which logits are known."""
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.live: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        """At the moment of the largest sum."""
        self._kinds = WeakIdKeyDictionary()
        self._freed: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return True  # transformers asks whether nothing is packed
        if func is torch.ops.aten.nonzero.default and args[0].is_meta:
            # Of clips without padding all positions are valid.
            made = args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.int64)
        else:
            made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor) and tensor.is_meta:
                wide = tensor.shape[-1:] == (self.vocabulary_size,)
                self.note(tensor, LOGITS if wide else ACTIVATIONS)
        return made

    def note(self, tensor: Tensor, kind: str) -> None:
        """Count a tensor's memory, once; `kind` is what it is counted as from then on if it is known."""
        storage = tensor.untyped_storage()
        known = self._kinds.get(storage)
        if known is None:
            entry = [kind, storage.nbytes()]
            self._kinds[storage] = entry
            self.live[kind] += entry[1]
            self._freed.append(weakref.ref(storage, partial(self._free, entry)))
            if self.live.total() > self.most.total():
                self.most = self.live.copy()

    def rename(self, tensor: Tensor, kind: str) -> None:
        """Say of a counted tensor what it is."""
        entry = self._kinds.get(tensor.untyped_storage())
        if entry is not None and entry[0] != kind:
            self.live[entry[0]] -= entry[1]
            self.live[kind] += entry[1]
            entry[0] = kind

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Do not count these, which were there before."""
        for tensor in tensors:
            self._kinds[tensor.untyped_storage()] = ["", 0]

    def _free(self, entry: list[Any], _: Any) -> None:
        self.live[entry[0]] -= entry[1]


class Autocast(TorchFunctionMode):
    """16-bit arithmetic, where autocast would take it, and attention in one kernel.

    PyTorch's own autocast knows no meta device, and its attention there keeps the whole matrix of weights.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in NARROW and self.dtype is not torch.float32:
            args = [self._narrow(value) for value in args]
            kwargs = {name: self._narrow(value) for name, value in kwargs.items()}
        if func is functional.scaled_dot_product_attention and args[0].is_meta:
            return _Attention.apply(*args[:3])
        return func(*args, **kwargs)

    def _narrow(self, value: Any) -> Any:
        is_wide = isinstance(value, Tensor) and value.is_meta and value.dtype is torch.float32
        return value.to(self.dtype) if is_wide else value


class _Attention(torch.autograd.Function):
    """What a fused kernel keeps: its inputs, its output, and a number for every query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(
            query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32)
        )
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def step_memory(model: SpeechLLM, batch: Batch, dtype: torch.dtype, foreach: bool = True) -> Counter[str]:
    """Bytes by part at the peak of the second optimiser step, without the model's own and the batch's.

    model, batch: on the meta device. dtype: of the arithmetic. foreach: as AdamW works on a GPU.
    """
    ledger = Ledger(model.llm.get_output_embeddings().weight.shape[0])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    media = [padded.values for padded in batch.inputs.values()]
    ledger.leave_out([*model.parameters(), *model.buffers(), *media])
    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda p: ledger.rename(p.grad, GRADIENTS))
        for parameter in trained
    ]
    if model.llm.is_activation_checkpointing:
        # The mode is off in the backward pass, and what is computed anew there has to be computed alike.
        contexts = lambda: (nullcontext(), Autocast(dtype))  # noqa: E731
        model.llm.activation_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})
    optimiser = AdamW(trained, foreach=foreach)
    model.train()
    with ledger:
        for _ in range(2):
            ledger.most = Counter()  # the first step has no states yet
            with Autocast(dtype):
                loss = model.loss(batch)
                total = sum(loss.added.values(), loss.cross_entropy)
                del loss
                total.backward()
            del total
            optimiser.step()
            for state in optimiser.state.values():
                for tensor in state.values():
                    if tensor.is_meta:
                        ledger.rename(tensor, STATES)
            optimiser.zero_grad()
    for hook in hooks:
        hook.remove()
    return ledger.most
