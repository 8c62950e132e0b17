"""The Prometheus endpoint: read from the running jobs and the farm at every scrape, kept nowhere."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.registry import JobRegistry
from tunefarm_coordinator.farm.views import DeviceState, DeviceView
from tunefarm_coordinator.schedules.store import Store


class _Collector:
    def __init__(self, registry: JobRegistry, farm: FarmControl, store: Store) -> None:
        self._registry = registry
        self._farm = farm
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Gauges by job; a job's series end with it."""
        charged = GaugeMetricFamily("tunefarm_job_trials_charged", "Trials charged", labels=["job"])
        budget = GaugeMetricFamily("tunefarm_job_trials_budget", "Trials in the budget", labels=["job"])
        failed = GaugeMetricFamily("tunefarm_job_trials_failed", "Failed trials", labels=["job", "kind"])
        rate = GaugeMetricFamily("tunefarm_job_trials_per_second", "Trials per second", labels=["job"])
        for runner in self._registry.running():
            name, brain = [runner.sheet.job_id], runner.brain
            charged.add_metric(name, brain.ledger.charged)
            budget.add_metric(name, brain.ledger.budget)
            rate.add_metric(name, runner.trials_per_second)
            for kind, count in tuple(brain.failures.items()):
                failed.add_metric([*name, kind], count)
        devices = GaugeMetricFamily("tunefarm_devices", "Registered devices")
        devices.add_metric([], len(self._farm.devices()))
        waiting = GaugeMetricFamily("tunefarm_work_waiting", "Pieces of work that wait for a device")
        waiting.add_metric([], self._farm.waiting)
        written = GaugeMetricFamily("tunefarm_store_written", "1 where the store can be written, 0 where it can't")
        written.add_metric([], float(self._store.failure is None))
        yield from (charged, budget, failed, rate, devices, waiting, written)
        yield from _device_metrics(self._farm.snapshot())


def _device_metrics(views: Sequence[DeviceView]) -> Iterator[Metric]:
    """What an operator is woken for: devices lost, quarantined, failing, hot, slow."""
    labels = ["agent", "device"]
    state = GaugeMetricFamily("tunefarm_device_state", "1 for the state that it is in", labels=[*labels, "state"])
    outcomes = CounterMetricFamily("tunefarm_device_outcomes", "Outcomes", labels=labels)
    failed = CounterMetricFamily("tunefarm_device_failed", "Outcomes that failed", labels=labels)
    again = CounterMetricFamily(
        "tunefarm_device_remeasured", "Measurements not believed, as the device was slowed", labels=labels
    )
    temperature = GaugeMetricFamily("tunefarm_device_temperature_celsius", "Temperature", labels=labels)
    reference = GaugeMetricFamily(
        "tunefarm_device_reference_seconds", "One call of the reference kernel", labels=labels
    )
    for view in views:
        name = [view.agent_id, view.device.device_id]
        for each in DeviceState:
            state.add_metric([*name, each.value], float(view.state is each))
        outcomes.add_metric(name, view.measured)
        failed.add_metric(name, view.failed)
        again.add_metric(name, view.remeasured)
        if view.temperature is not None:
            temperature.add_metric(name, view.temperature)
        if view.reference_seconds is not None:
            reference.add_metric(name, view.reference_seconds)
    yield from (state, outcomes, failed, again, temperature, reference)


def start(host: str, port: int, registry: JobRegistry, farm: FarmControl, store: Store) -> None:
    """Serves /metrics in a thread of its own."""
    collectors = CollectorRegistry()
    collectors.register(_Collector(registry, farm, store))
    start_http_server(port, host, registry=collectors)
