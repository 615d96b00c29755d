# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node `geoloc`: parameters, lifecycle, services. Data runs through `session.py`."""

import signal
import sys
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from geoloc_core.errors import ConfigError, GeolocError
from geoloc_core.runtime.threads import leave_a_core
from geoloc_ros import messages
from geoloc_ros.assembly import datum_from_parameters
from geoloc_ros.parameters import is_foreign, Parameter, parameter, PARAMETERS
from geoloc_ros.session import Session, steady_clock

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
DIAGNOSTICS_PERIOD_S = 1.0
SWITCH_INTERVAL_S = 0.0005


class GeolocNode(LifecycleNode):
    """Localizes a robot against a map; see the README for topics and parameters."""

    def __init__(self, **kwargs: Any) -> None:
        """Declares parameters and services; all else happens at configure."""
        self._session: Session | None = None
        self._state = 'unconfigured'
        self._why = 'not configured yet'
        super().__init__('geoloc', **kwargs)
        self._ours = {p.name for p in PARAMETERS}
        # Set before the declarations, so that values given at start are judged as well.
        self.add_on_set_parameters_callback(self._judge)
        for each in PARAMETERS:
            self.declare_parameter(each.name, each.default, _descriptor(each))
        self._tell_unknown()
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._diagnostics_timer = self.create_timer(
            DIAGNOSTICS_PERIOD_S, self._diagnose, clock=steady_clock()
        )
        self.create_service(Trigger, '~/reset', self._reset)
        self.create_service(Trigger, '~/set_datum', self._set_datum)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=self._clock_jumped,
        )

    @property
    def session(self) -> Session | None:
        """What is held while configured."""
        return self._session

    def _tell_unknown(self) -> None:
        # rclpy passes over names that are never declared: a misspelt one would do nothing, unsaid.
        for name in sorted(set(self._parameter_overrides) - self._ours):
            if is_foreign(name):
                continue
            try:
                parameter(name)
            except ConfigError as error:
                self.get_logger().warning(f'{error} It is set, and has no effect.')

    def params(self) -> dict[str, Any]:
        """All parameters as plain values.

        Raises:
            ConfigError: A value of the wrong type or out of range.
        """
        values = {}
        for each in PARAMETERS:
            value = self.get_parameter(each.name).value
            values[each.name] = each.checked(list(value) if each.type == 'double_array' else value)
        return values

    # ---- lifecycle ----

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Opens the map and builds the localizer."""
        return self._transition('configure', 'inactive', self._configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begins to listen and to speak."""
        return self._transition('activate', 'active', self._activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Falls silent, keeping the estimate."""
        return self._transition('deactivate', 'inactive', self._deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forgets everything; parameters may be changed."""
        return self._transition('cleanup', 'unconfigured', self._close, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends."""
        return self._transition('shutdown', 'finalized', self._close, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After something unforeseen: back to unconfigured, alive."""
        return self._transition('recover', 'unconfigured', self._close, state)

    def _transition(
        self, name: str, goal: str, act: Any, state: LifecycleState
    ) -> TransitionCallbackReturn:
        # rclpy swallows what a transition throws, so it is said here.
        try:
            act(state)
        except GeolocError as error:
            self._why = str(error)
            self.get_logger().error(
                f'{name} failed: {error} (still {self._state}: correct it, then {name} again)'
            )
            return FAILURE
        except Exception as error:
            if not self.context.ok():
                return FAILURE  # a signal came in the middle of it
            self._why = f'{type(error).__name__}: {error}'
            self.get_logger().error(f'{name} failed:\n{traceback.format_exc()}')
            return FAILURE
        self._state, self._why = goal, ''
        self.get_logger().info(goal)
        return SUCCESS

    def _configure(self, state: LifecycleState) -> None:
        self._session = Session(self, self.params())
        super().on_configure(state)

    def _activate(self, state: LifecycleState) -> None:
        super().on_activate(state)
        assert self._session is not None
        self._session.start()

    def _deactivate(self, state: LifecycleState) -> None:
        assert self._session is not None
        self._session.stop()
        super().on_deactivate(state)

    def _close(self, state: LifecycleState) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def destroy_node(self) -> None:
        """Ends the threads before the node goes."""
        self._close(None)
        self._jump_handle.unregister()
        super().destroy_node()

    # ---- parameters and services ----

    def _judge(self, changes: list[Any]) -> SetParametersResult:
        for change in changes:
            if change.name not in self._ours:
                continue
            declared = parameter(change.name)
            if self._session is not None and not declared.dynamic:
                return SetParametersResult(
                    successful=False,
                    reason=f'{change.name} takes effect at configure: clean up first',
                )
            value = list(change.value) if declared.type == 'double_array' else change.value
            try:
                declared.checked(value)
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is None:
            response.message = 'the node is not configured'
            return response
        self._session.reset('asked by the service')
        response.success, response.message = True, 'estimate forgotten'
        return response

    def _set_datum(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is None:
            response.message = 'the node is not configured'
            return response
        try:
            datum = datum_from_parameters(self.params())
            if datum is None:
                raise ConfigError('set the parameters datum.lat_deg and datum.lon_deg first')
            self._session.localizer.set_datum(datum)
        except GeolocError as error:
            response.message = str(error)
            return response
        self._session.outputs.restart()
        response.success, response.message = True, str(datum)
        return response

    # ---- time and health ----

    def _clock_jumped(self, jump: Any) -> None:
        if self._session is not None and jump.delta.nanoseconds < 0:
            self._session.clock_jumped(jump.delta.nanoseconds / 1e9)

    def _diagnose(self) -> None:
        now = self.get_clock().now().nanoseconds
        active = self._state == 'active'
        level = messages.OK if active else (messages.ERROR if self._why else messages.WARN)
        text = self._state + (f': {self._why}' if self._why else '')
        statuses = [messages.diagnostic_status('geoloc: node', level, text, {})]
        if active and self._session is not None:
            statuses += self._session.diagnose()
        self._diagnostics.publish(messages.diagnostic_array(statuses, now))


def _descriptor(declared: Parameter) -> ParameterDescriptor:
    note = f' [{declared.range_text}]' if declared.range_text else ''
    # Doubles take whole numbers as well (5 for 5.0); `_judge` holds type and range.
    descriptor = ParameterDescriptor(
        description=declared.text + note,
        read_only=declared.name == 'autostart',
        dynamic_typing=declared.type in ('double', 'double_array'),
    )
    bounded = declared.low is not None and declared.high is not None
    if bounded and declared.type == 'integer':
        descriptor.integer_range = [
            IntegerRange(from_value=int(declared.low), to_value=int(declared.high), step=0)
        ]
    elif bounded and declared.type == 'double' and declared.default == declared.default:
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(declared.low), to_value=float(declared.high), step=0.0
            )
        ]
    return descriptor


def _spin(node: GeolocNode, executor: SingleThreadedExecutor) -> None:
    executor.add_node(node)
    while rclpy.ok():
        try:
            executor.spin()
        except (KeyboardInterrupt, ExternalShutdownException):
            return
        except Exception as error:  # such as rclpy's answer to a transition that is not allowed
            # A signal between two waits takes the context from under the executor.
            if isinstance(error, RCLError) and not rclpy.ok():
                return
            node.get_logger().error(f'a callback failed:\n{traceback.format_exc()}')


def main(args: list[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Returns:
        0; 1 when a parameter given at start cannot be used.
    """
    # Threads that wait for the interpreter get it sooner than after Python's 5 ms: a frame passes
    # through three of them, each for a fraction of a millisecond.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    leave_a_core()
    node = None
    code = 0
    begun = False
    try:
        try:
            rclpy.init(args=args)
            begun = True
            # Before the long work of coming up: a signal that ends the context meanwhile would
            # leave a half-made executor, which complains when it is collected.
            executor = SingleThreadedExecutor()
            node = GeolocNode()
            if not node.get_parameter('autostart').value:
                node.get_logger().info(
                    'waits for a lifecycle manager to configure and activate it; '
                    '-p autostart:=true starts it without one'
                )
            elif node.trigger_configure() == SUCCESS:
                node.trigger_activate()
            _spin(node, executor)
        except (
            InvalidParameterException,
            InvalidParameterTypeException,
            InvalidParameterValueException,
            RCLError,
        ) as error:
            # A signal while the node comes up takes the context from under it: no error of ours.
            if not begun or rclpy.ok():
                print(f'geoloc: {error}', file=sys.stderr)
                code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        # Also while an error is being handled: the same signal that took the context away
        # reaches Python a moment later.
        pass
    finally:
        # A second Ctrl-C must not interrupt the way down.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return code


if __name__ == '__main__':
    sys.exit(main())
