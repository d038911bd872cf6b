"""What an error says of memory and of the GPU: too little memory passes, but a CUDA error poisons its process.

After a kernel has failed (a device-side assert, an illegal address) every later call of the same process raises the
same error, whatever it is about: only a new process can use the GPU again. PyTorch has no type for all of these errors,
so that some are known by their text alone.
"""

import contextlib
import errno
import gc
import re
from collections.abc import Iterator

import torch

# Besides "out of memory" in CUDA's and others' words: libraries that could not allocate, cuDNN that found no room for
# any of its algorithms, PyTorch's allocator where the driver can't tell how much is free, and the CPU's allocator.
MEMORY = re.compile(
    r"out of memory|ALLOC(ATION)?_FAILED|AllocFailed|MEMORY_ALLOCATION|MemoryAllocation"
    r"|unable to find an engine to execute|unable to find a valid cudnn algorithm|NVML_SUCCESS == r"
    r"|can't allocate memory|cannot allocate memory|not enough memory|std::bad_alloc",
    re.IGNORECASE,
)
DEVICE = re.compile(
    r"\b(CUDA|HIP|cuDNN|cuBLAS|cuFFT|cuSOLVER|cuSPARSE|NCCL|MIOpen)( driver)? error|Triton Error"
    r"|\b(CU(DNN|BLAS|SOLVER|SPARSE)_STATUS|CUFFT|HIPBLAS_STATUS|miopenStatus|cudaError|CUDA_ERROR)_?\w+"
    r"|device-side assert|illegal memory access|unspecified launch failure"
)
ACCELERATOR = getattr(torch, "AcceleratorError", ())  # of a CUDA call that failed; libraries' are plain RuntimeErrors


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the GPU's or the machine's, under ``error`` or what it was raised from."""
    return any(
        isinstance(one, (MemoryError, torch.OutOfMemoryError))
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (isinstance(one, RuntimeError) and bool(MEMORY.search(str(one))))
        for one in _chain(error)
    )


def is_device_error(error: BaseException) -> bool:
    """Whether the GPU failed otherwise, after which this process can't use it any more."""
    return not is_out_of_memory(error) and any(
        isinstance(one, ACCELERATOR) or (isinstance(one, RuntimeError) and bool(DEVICE.search(str(one))))
        for one in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised from or while they were handled."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def empty_cache() -> None:
    """Give the GPU's memory that is cached for the next run back, so that processes that share the GPU can have it."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()  # what a network's cycles keep alive can't be given back
        with contextlib.suppress(RuntimeError):  # of a GPU that has failed; the next run will say so
            torch.cuda.empty_cache()
