"""The forward pass of a model as PyTorch compiles it, and the backward pass with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, compile, nn

from sharpscope.errors import SharpscopeError

ForwardPass = Callable[[Tensor], Tensor]

# Of one piece of code, for other sizes of a batch and other hooks; PyTorch gives up after a few, and says nothing.
_VERSIONS = 1000


class NotCompiled(SharpscopeError):
    """A model, or a machine, with which PyTorch cannot compile."""


def check_compiler() -> None:
    """See that there is what PyTorch compiles with.

    Raises:
        NotCompiled: If there is no C++ compiler.
    """
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        raise NotCompiled(
            "training.compile needs a C++ compiler such as g++, and there is none on this machine; install one, or "
            "leave compile out"
        ) from None


@contextmanager
def compiled(model: nn.Module) -> Iterator[ForwardPass]:
    """Yield the forward pass of a model, compiled at its first call and again for each further size of a batch.

    The model is not changed, and computes as ever when it is called itself. Where it draws, it draws the same numbers.
    Hooks are compiled too; they must not change within the block.

    Raises:
        NotCompiled: If there is no compiler, or when the compiled pass is called, if PyTorch cannot compile the model.
    """
    check_compiler()
    from torch import _dynamo

    # Compiled code is shared by all models of a class, so that hooks must tell one from another.
    shared = _dynamo.config.patch(
        skip_nnmodule_hook_guards=False,
        recompile_limit=_VERSIONS,
        accumulated_recompile_limit=_VERSIONS,
        fail_on_recompile_limit_hit=True,
    )
    fast = compile(model, dynamic=False, options={"fallback_random": True})

    def forward(inputs: Tensor) -> Tensor:
        try:
            outputs: Tensor = fast(inputs)
        except _dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise NotCompiled(f"PyTorch cannot compile this model ({reason}); leave training.compile out") from error
        return outputs

    with shared:
        yield forward
