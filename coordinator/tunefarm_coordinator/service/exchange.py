"""Whole stores of schedules, out and in: streams of any length, of which never more than a page or a batch is held."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

from tunefarm_coordinator.errors import Conflict, InvalidInput
from tunefarm_coordinator.schedules.changes import DeviceFacts
from tunefarm_coordinator.schedules.merging import Offer, OfferedRecord, Taken
from tunefarm_coordinator.schedules.record import Record
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.schedule_messages import (
    device_item,
    offer_of,
    record_message,
    refusal,
    workload_item,
)
from tunefarm_proto.v1 import schedule_pb2

_PAGE = 500
# Of an answer; one that has a larger item holds nothing else.
_ANSWER_BYTES = 1 << 20

_Numbered = tuple[int, Offer]


class Intake:
    """One stream of items that comes in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._other_devices: set[str] = set()

    async def take(
        self, requests: AsyncIterator[schedule_pb2.ImportSchedulesRequest]
    ) -> AsyncGenerator[schedule_pb2.ImportSchedulesResponse, None]:
        """Writes each batch, without what can't be taken, and answers once it is durable; meanwhile the next one is
        checked. Raises StoreError."""

        async def following() -> tuple[list[_Numbered], list[schedule_pb2.RefusedItem]] | None:
            request = await anext(requests, None)
            return None if request is None else await asyncio.to_thread(_checked, request)

        ahead = asyncio.create_task(following())
        try:
            while (checked := await ahead) is not None:
                ahead = asyncio.create_task(following())
                yield await self.take_offers(*checked)
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def take_offers(
        self, offers: Sequence[_Numbered], refused: list[schedule_pb2.RefusedItem]
    ) -> schedule_pb2.ImportSchedulesResponse:
        """Writes a batch that was checked already, and returns once it is durable; `refused`: what was found then.
        Raises StoreError."""
        taken = await self._write(offers, refused)
        refused.sort(key=lambda item: item.line)
        return schedule_pb2.ImportSchedulesResponse(
            records_added=taken.records_added,
            records_known=taken.records_known,
            workloads_added=taken.workloads_added,
            devices_added=taken.devices_added,
            refused=refused,
        )

    async def _write(self, offers: Sequence[_Numbered], refused: list[schedule_pb2.RefusedItem]) -> Taken:
        """In one transaction; where the store refuses it, in halves, until what it refuses stands alone."""
        offers = self._of_known_devices(offers, refused)
        if not offers:
            return Taken()
        try:
            return await asyncio.wrap_future(self._store.merge([offer for _, offer in offers]))
        except (InvalidInput, Conflict) as error:
            if len(offers) == 1:
                line, offer = offers[0]
                refused.append(refusal(line, error))
                if isinstance(offer, DeviceFacts):
                    self._other_devices.add(offer.fingerprint)
                return Taken()
        middle = len(offers) // 2
        first = await self._write(offers[:middle], refused)
        return first + await self._write(offers[middle:], refused)

    def _of_known_devices(
        self, offers: Sequence[_Numbered], refused: list[schedule_pb2.RefusedItem]
    ) -> list[_Numbered]:
        """Without the records of devices that were refused: here their fingerprints stand for other hardware."""
        if not self._other_devices:
            return list(offers)
        kept = []
        for line, offer in offers:
            if isinstance(offer, OfferedRecord) and offer.record.device_fingerprint in self._other_devices:
                name = offer.record.device_fingerprint
                refused.append(refusal(line, Conflict(f"its device {name} stands for other facts in this store")))
            else:
                kept.append((line, offer))
        return kept


async def exported(
    store: Store, request: schedule_pb2.ExportSchedulesRequest
) -> AsyncIterator[schedule_pb2.ExportSchedulesResponse]:
    """Every record that matches, and before the first that needs it what its workload and its device are."""
    wanted = RecordFilter(
        workload=request.workload,
        target=request.target,
        device_class=request.device_class,
        project=request.project,
    )
    told: set[str] = set()
    after = ""
    while page := await asyncio.to_thread(store.records, wanted, after=after, limit=_PAGE):
        for response in await asyncio.to_thread(_responses, store, page, told):
            yield response
        after = page[-1].record_id


def _responses(store: Store, page: Sequence[Record], told: set[str]) -> list[schedule_pb2.ExportSchedulesResponse]:
    """The page's items; `told` are the workloads and devices that the stream has had."""
    responses = [schedule_pb2.ExportSchedulesResponse()]
    size = 0
    for item in _items(store, page, told):
        size += item.ByteSize()
        if size > _ANSWER_BYTES and responses[-1].items:
            responses.append(schedule_pb2.ExportSchedulesResponse())
            size = item.ByteSize()
        responses[-1].items.append(item)
    return responses


def _items(store: Store, page: Sequence[Record], told: set[str]) -> Iterator[schedule_pb2.ScheduleItem]:
    workloads = list(dict.fromkeys(record.workload for record in page if record.workload not in told))
    devices = list(dict.fromkeys(record.device_fingerprint for record in page if record.device_fingerprint not in told))
    told.update(workloads, devices)
    # in the order of the records, so that one store's export is always the same
    known = store.workloads(workloads)
    yield from (workload_item(known[name]) for name in workloads if name in known)
    here = {device.fingerprint: device for device in store.devices(devices)}
    yield from (device_item(here[name]) for name in devices if name in here)
    traces = store.traces_of(page)
    for record in page:
        trace = traces.get((record.workload, record.identity), "")
        yield schedule_pb2.ScheduleItem(record=record_message(record, trace))


def _checked(
    request: schedule_pb2.ImportSchedulesRequest,
) -> tuple[list[_Numbered], list[schedule_pb2.RefusedItem]]:
    offers: list[_Numbered] = []
    refused: list[schedule_pb2.RefusedItem] = []
    for numbered in request.items:
        try:
            offers.append((numbered.line, offer_of(numbered.item)))
        except InvalidInput as error:
            refused.append(refusal(numbered.line, error))
    return offers, refused
