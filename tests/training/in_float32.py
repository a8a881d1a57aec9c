"""`udh` as on a processor without half precision, where sums do not depend on how a batch is divided."""

from __future__ import annotations

from udh_core.cli import main
from udh_core.training import motion, syncnet, warp

if __name__ == "__main__":
    for module in (motion, syncnet, warp):
        module.training_dtype = lambda device: None
    main()
