"""A GPU that is pretended: tensors say that they are on "cuda" and compute on the CPU.

    with pretended() as gpu:
        fit(run, folder, "cuda")
    gpu.kernels, gpu.waits  # how often each operation was asked for; where the host would have waited for the GPU

What a GPU refuses is refused: tensors of two devices in one operation, ``numpy()`` of its memory, a CPU's generator for
its random numbers. Each wait is noted with its place: asking for a value or for a shape that depends on values, and
copies to or from the host that are not said to be non-blocking or whose memory is not pinned. A CUDA graph is captured
as a tape of operations and replayed with the very tensors and numbers of the capture; a wait within it is an error. So
a graph that misses what a step changes gives other results than steps one by one. Not pretended: speed, memory,
rounding, several streams; and "cuda" must be written "cuda:0".
"""

import collections
import contextlib
import traceback
from types import SimpleNamespace
from unittest import mock

import torch
from torch.utils import _pytree as trees
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
FREE = set(
    """view _unsafe_view permute transpose t expand slice select unsqueeze squeeze detach alias as_strided split
    split_with_sizes unbind unfold view_as_real view_as_complex reshape _reshape_alias lift_fresh diagonal empty
    empty_like empty_strided new_empty new_empty_strided set_ resize_ is_pinned""".split()
)  # no kernel
ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "is_nonzero", "equal"}
ACROSS = {"copy_", "_to_copy", "index", "index_put_", "_index_put_impl_"}  # may take tensors of both, see `_crossing`
DRAWING = ("rand", "normal", "bernoulli", "multinomial", "uniform", "exponential")


class Gpu:
    """What has been asked of the pretended GPU."""

    def __init__(self):
        self.kernels, self.waits, self.tape = collections.Counter(), collections.Counter(), None

    def wait(self, why: str) -> None:
        """The host waits for the GPU."""
        if self.tape is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {why}")
        frames = [frame for frame in traceback.extract_stack() if "/plasticity/" in frame.filename]
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "a test"
        self.waits[f"{why} at {place}"] += 1


_gpu = Gpu()


class OnGpu(torch.Tensor):
    """A tensor that says it is on cuda:0; ``held`` is where it is."""

    @staticmethod
    def __new__(cls, inner):
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "layout": inner.layout}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device=inner.device, **layout)
        made.held = inner
        return made

    device, is_cuda, is_cpu = property(lambda self: CUDA), property(lambda self: True), property(lambda self: False)

    def __tensor_flatten__(self):
        return ["held"], None  # a module that moves swaps its parameters for such tensors

    @staticmethod
    def __tensor_unflatten__(tensors, *_):
        return OnGpu(tensors["held"])

    def __repr__(self, **_):
        return f"OnGpu({self.held!r})"

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def untyped_storage(self):
        return self.held.untyped_storage()

    def data_ptr(self):
        return self.held.data_ptr()

    def tolist(self):
        _gpu.wait("tolist")
        return self.detach().held.tolist()

    def cpu(self, *_, **__):
        return _ToCpu.apply(self)

    def cuda(self, *_, **__):
        return self

    def new_tensor(self, values, **given):
        return torch.tensor(values, **{"device": CUDA, "dtype": self.dtype} | given)

    def to(self, *args, **kwargs):
        device, dtype, _, memory_format = torch._C._nn._parse_to(*(() if _is_tensor(args) else args), **kwargs)
        if _is_tensor(args):
            device, dtype = args[0].device, args[0].dtype
        moved = _ToCpu.apply(self) if device is not None and device.type == "cpu" else self
        changes = {"dtype": dtype, "memory_format": memory_format}
        changes = {name: value for name, value in changes.items() if value is not None}
        plain = super().to if moved is self else moved.to
        return plain(**changes) if changes else moved

    def __deepcopy__(self, memo):
        copied = OnGpu(self.detach().held.clone()).requires_grad_(self.requires_grad)
        copied._is_param = isinstance(self, torch.nn.Parameter)
        copied.grad = None if self.grad is None else self.grad.__deepcopy__(memo)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol):
        return self.detach().held.__reduce_ex__(protocol)  # a file's tensors are loaded to the CPU

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _dispatch(func, args, kwargs or {})


def _is_tensor(args) -> bool:
    return bool(args) and isinstance(args[0], torch.Tensor)


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        _gpu.wait("copy to the CPU")
        return tensor.held.clone()

    @staticmethod
    def backward(ctx, gradient):
        return OnGpu(gradient)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _dispatch(func, args, kwargs or {})


def _dispatch(func, args, kwargs):
    name, flat = func._schema.name.split("::")[1], trees.tree_leaves((args, kwargs))
    device = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
    if name == "_to_copy" and isinstance(args[0], OnGpu):
        device = None  # autograd, which sees where the tensor really is; `OnGpu.to` has seen to the rest
    ours = [each for each in flat if isinstance(each, OnGpu)]
    others = [each for each in flat if isinstance(each, torch.Tensor) and not isinstance(each, OnGpu)]
    if not ours and device != "cuda":
        return func(*args, **kwargs)
    _refuse(name, ours, others, kwargs)
    if name in ASKING:
        _gpu.wait(name)
    _crossing(name, args, kwargs, device)
    if name not in FREE | ASKING:
        _gpu.kernels[name] += 1
    return _carry_out(func, name, args, kwargs, device, ours)


def _refuse(name, ours, others, kwargs):
    """Numbers, tensors of no dimension, may come from the CPU; and a CPU's generator draws nothing on a GPU."""
    if ours and name not in ACROSS and any(each.dim() for each in others):
        shapes = [tuple(each.shape) for each in others]
        raise RuntimeError(f"Expected all tensors to be on the same device: {name}, {shapes} on the CPU")
    if name.startswith(DRAWING) and kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu': {name}")


def _crossing(name, args, kwargs, device):
    """Note the waits of copies and of indexing between the devices."""
    if name in ("index", "index_put_", "_index_put_impl_"):
        if not isinstance(args[0], OnGpu) or name != "index" and args[2].dim() and not isinstance(args[2], OnGpu):
            raise RuntimeError(f"{name}: a CPU's tensor with indices or values on cuda, or values on the CPU")
        for index in args[1]:
            if index is not None and not isinstance(index, OnGpu):
                _gpu.wait(f"{name} by the CPU's numbers")
            elif index is not None and index.dtype in (torch.bool, torch.uint8):
                _gpu.wait(f"{name} by a mask")
    blocking = not kwargs.get("non_blocking", name == "copy_" and len(args) > 2 and args[2])
    if name == "copy_" and isinstance(args[0], OnGpu) != isinstance(args[1], OnGpu):
        source, back = args[1], isinstance(args[1], OnGpu)
    elif name == "_to_copy" and not isinstance(args[0], OnGpu):
        source, back = args[0], False
    else:
        return
    if source.dim() or back:
        if blocking or back:
            _gpu.wait("copy from the GPU" if back else "copy to the GPU")
        elif not getattr(source, "pinned", False):
            _gpu.wait("copy from memory that is not pinned")
        elif _gpu.tape is not None:
            raise RuntimeError("a graph would always copy what the CPU has now")


def _carry_out(func, name, args, kwargs, device, ours):
    """On the CPU's tensors; the results are the GPU's, in place the same ones."""
    given = {**kwargs, "device": torch.device("cpu")} if device == "cuda" else kwargs
    inner = [trees.tree_map(lambda each: each.held if isinstance(each, OnGpu) else each, x) for x in (args, given)]
    with torch.inference_mode(False), torch.no_grad():  # in inference mode such a tensor can't be made from a view
        return _wrapped(func, name, inner, device, ours)


def _wrapped(func, name, inner, device, ours):
    result = func(*inner[0], **inner[1])
    if _gpu.tape is not None:
        _gpu.tape.append((func, *inner, result))
    if device == "cpu":
        return result
    known = {id(each.held): each for each in ours}

    def wrapped(each):
        return known.get(id(each), each) if id(each) in known or not isinstance(each, torch.Tensor) else OnGpu(each)

    return trees.tree_map(wrapped, result)


class _Graph:
    """A CUDA graph: a tape of operations."""

    def replay(self):
        """Each operation again; what it made, into the memory of the capture."""
        for func, args, kwargs, captured in self.tape:
            _gpu.kernels["in a graph"] += 1
            again = func(*args, **kwargs)
            for old, new in zip(trees.tree_leaves(captured), trees.tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@contextlib.contextmanager
def _capture(graph):
    _gpu.tape = []
    try:
        yield
        graph.tape = _gpu.tape
    finally:
        _gpu.tape = None


def _stream():
    return SimpleNamespace(wait_stream=lambda other: None)


def _pinned(tensor):
    made = tensor.clone()
    made.pinned = True
    return made


def _tensor(values, *, device=None, **given):
    made = TENSOR(values, **given)
    return made if device is None else made.to(device)


def _autocast(kind, *args, **kwargs):
    return AUTOCAST("cpu", *args, **kwargs)  # where the tensors really are


def _grouped(lists, *args, **kwargs):
    groups = GROUPED(lists, *args, **kwargs)
    return {(CUDA if isinstance(lists[0][0], OnGpu) else device, kind): x for (device, kind), x in groups.items()}


AUTOCAST, TENSOR = torch.autocast, torch.tensor
GROUPED = torch.utils._foreach_utils._group_tensors_by_device_and_dtype
REPLACED = {
    "torch.cuda._lazy_init": lambda: None,
    "torch.cuda.is_available": lambda: True,
    "torch.cuda.is_initialized": lambda: True,
    "torch.cuda.device_count": lambda: 1,
    "torch.cuda.current_device": lambda: 0,
    "torch.cuda.get_device_name": lambda *_: "a pretended GPU",
    "torch.cuda.get_device_capability": lambda *_: (9, 0),
    "torch.cuda.get_arch_list": lambda: ["sm_90"],
    "torch.cuda.get_rng_state": lambda *_: torch.get_rng_state(),  # it draws as the CPU does
    "torch.cuda.set_rng_state": lambda state, *_: torch.set_rng_state(state),
    "torch.cuda.manual_seed_all": lambda seed: None,
    "torch.cuda.empty_cache": lambda: None,
    "torch.cuda.current_stream": _stream,
    "torch.cuda.Stream": _stream,
    "torch.cuda.stream": lambda stream: contextlib.nullcontext(),
    "torch.cuda.CUDAGraph": _Graph,
    "torch.cuda.graph": _capture,
    "torch.autocast": _autocast,
    "torch.tensor": _tensor,
    "torch.nn.utils.clip_grad._group_tensors_by_device_and_dtype": _grouped,
    "torch.optim.optimizer._group_tensors_by_device_and_dtype": _grouped,
    "torch.Tensor.pin_memory": _pinned,
    "plasticity.networks.competitors._unusual": lambda parameter: "",  # a GPU's tensors are plain ones
    "torch.optim.Optimizer._accelerator_graph_capture_health_check": lambda self: None,
    "torch.optim.Optimizer._cuda_graph_capture_health_check": lambda self: None,  # its older name
}


@contextlib.contextmanager
def pretended():
    """A pretended GPU is there, and no other."""
    global _gpu
    _gpu = Gpu()
    with contextlib.ExitStack() as stack:
        for name, value in REPLACED.items():
            stack.enter_context(mock.patch(name, value, create=name.endswith("_health_check")))
        stack.enter_context(_Mode())
        yield _gpu
