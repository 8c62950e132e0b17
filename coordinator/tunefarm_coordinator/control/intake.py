"""From what a user asked for to a job's sheet: the target resolved, the model found, the shapes fixed."""

import asyncio

from tunefarm_coordinator.compute.messages import ResolveTarget
from tunefarm_coordinator.control import targets
from tunefarm_coordinator.control.inputs import JobInputs
from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.library import ModelLibrary, StoredModel
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.errors import NoDevice
from tunefarm_coordinator.models.padding import check_padding
from tunefarm_proto.v1 import common_pb2, tuning_pb2


class Intake:
    """Resolves specs. What the farm has now counts: it may be another farm tomorrow."""

    def __init__(self, services: Services, library: ModelLibrary) -> None:
        self._services = services
        self._library = library

    async def resolved(self, spec: tuning_pb2.JobSpec, *, needs_device: bool = True) -> tuning_pb2.JobSpec:
        """The spec with its target as TVM's JSON. `needs_device`: one of the farm's has to serve it.

        Raises InvalidInput (also: TF32 where there is none), NoDevice.
        """
        target = await self._target(spec, needs_device=needs_device)
        if spec.allow_tf32:
            targets.check_tf32(target.text)
        resolved = tuning_pb2.JobSpec()
        resolved.CopyFrom(spec)
        del resolved.targets[:]
        resolved.targets.append(target)
        return resolved

    async def sheet(self, job_id: str, spec: tuning_pb2.JobSpec, created: float) -> JobSheet:
        """The sheet of a resolved spec. Raises NotFound (model, values), InvalidInput (shapes, values, padding)."""
        stored: StoredModel = await self._library.get(spec.model_id)
        inputs = await JobInputs(self._library, spec).of(stored)
        check_padding(inputs.model.signature, spec.input_padding)
        return JobSheet(
            job_id=job_id,
            spec=spec,
            model=inputs.model.path,
            model_name=spec.name or stored.name,
            shape_sets=inputs.shape_sets,
            target=spec.targets[0].text,
            created=created,
            model_id=inputs.model.model_id,
            values=inputs.values,
        )

    async def _target(self, spec: tuning_pb2.JobSpec, *, needs_device: bool) -> common_pb2.TargetSpec:
        """TVM's JSON for what the user asked for: a device's where there is one."""
        text = spec.targets[0].text if spec.targets else targets.HOST
        devices = self._services.farm.devices()
        try:
            named = targets.by_name(text, devices)
        except NoDevice:
            if needs_device:
                raise
            named = None  # "host", where no CPU is registered: the coordinator's
        target: str = named or await self._services.compute.ask(ResolveTarget(text))
        if needs_device:
            targets.check_served(target, devices)
        else:
            target = targets.as_measured(target, await asyncio.to_thread(self._services.store.targets))
        return common_pb2.TargetSpec(text=target)
