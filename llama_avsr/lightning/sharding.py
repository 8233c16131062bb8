"""The LLM's frozen weights shared out among the GPUs of a machine (PyTorch's FSDP2).

Each process keeps a part of every decoder layer and fetches the rest while the layer is at work. What is
trained stays whole on every process and is exchanged as with DDP: gradients, losses, optimiser and
checkpoints are DDP's.
"""

from __future__ import annotations

import pytorch_lightning as pl
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from llama_avsr.lightning.processes import Processes


class Sharded(Processes):
    """Processes of which each keeps a part of the LLM."""

    def model_to_device(self) -> None:
        """The layers first, one by one: no device ever holds the whole LLM."""
        llm = self.lightning_module.model.llm
        if not isinstance(llm.get_decoder(), FSDPModule):
            mesh = init_device_mesh(
                self.root_device.type,
                (self.num_nodes, self.num_processes),
                mesh_dim_names=("node", "process"),
            )
            # Nothing of frozen weights is exchanged between machines.
            shard(llm, mesh["process"])
        super().model_to_device()

    def configure_ddp(self) -> None:
        frozen = [name for name, parameter in self.model.named_parameters() if not parameter.requires_grad]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.model, frozen)
        super().configure_ddp()


def shard(llm: PreTrainedModel, mesh: object) -> None:
    """Share out the frozen weights of the LLM's layers, in place. mesh: of one dimension."""
    decoder, layers = llm.get_decoder(), layers_of(llm)
    trained = {parameter for parameter in llm.parameters() if parameter.requires_grad}
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    outside = {parameter for parameter in decoder.parameters() if id(parameter) not in inside}
    # It has no weights of its own: layers below one module fetch while others compute.
    fully_shard(decoder, mesh=mesh, ignored_params=trained | outside)


def layers_of(llm: PreTrainedModel) -> list[nn.Module]:
    """Raises ValueError for an LLM without decoder layers as transformers has them."""
    layers = [
        module for module in llm.get_decoder().modules() if isinstance(module, GradientCheckpointingLayer)
    ]
    if not layers:
        raise ValueError(f"--strategy fsdp2: this LLM ({llm.config.model_type}) has no layers to share out")
    return layers


class WholeWhileEvaluating(pl.Callback):
    """Validation and tests need all layers at once: there, processes do not go in step."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for layer in layers_of(pl_module.model.llm):
            layer.set_reshard_after_forward(False)
            layer.unshard()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for layer in layers_of(pl_module.model.llm):
            layer.set_reshard_after_forward(True)
            layer.reshard()

    on_test_start = on_validation_start
    on_test_end = on_validation_end
