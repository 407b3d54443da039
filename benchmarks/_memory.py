"""How much memory does a piece of work hold at its worst moment?"""

import gc
from collections.abc import Callable
from itertools import accumulate

from torch.profiler import ProfilerActivity, profile


def peak_bytes(work: Callable[[], None]) -> int:
    """The most that torch's CPU allocator has lent out at one moment of `work`, beyond what it had before.

    Every allocation and release is seen, those inside of an operator included, so that the number is the same in every
    run. What a library takes past the allocator (oneDNN's scratch space, Python's objects) is not seen.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    peak: int = max(accumulate(size for _, size in changes))
    return peak
