"""How every node of the suite starts and stops."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import RCLError

from dexgrasp_common.errors import DexgraspError


def run_node(factory: Callable[[], Node], executor: Callable[[], Executor] = SingleThreadedExecutor) -> None:
    """Start the node that `factory` makes, spin until SIGINT or SIGTERM, and leave cleanly.

    A `DexgraspError` at start is the user's to mend (a parameter, a missing dependency): it is printed as one line
    and the process exits with status 1. Nodes release what they hold in `destroy_node`.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.ALL)
    node = None
    try:
        node = factory()
        spinner = executor()
        spinner.add_node(node)
        spinner.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RCLError:
        if rclpy.ok():  # otherwise a signal took the context from under a callback that was publishing
            raise
    except DexgraspError as error:
        print(f"{sys.argv[0].rsplit('/', 1)[-1]}: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        # A second signal during clean-up (launchers send several) must not cut it short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
