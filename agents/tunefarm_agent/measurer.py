"""The measuring process: forks confined RPC sessions and runs candidates and models on them, one at a time.

    python -m tunefarm_agent.measurer AGENT_PID

No gRPC and one thread, as it forks. It decides nothing: the agent says what to run, holds the watch, and
kills this process's children when time is up; then the command in progress ends with the session's death.
"""

from tunefarm_agent import commands
from tunefarm_agent.board_session import BoardSession
from tunefarm_agent.commands import RUN_ERROR, Confinement, Json, Place, failed, lost, ok
from tunefarm_agent.confinement import kill_children
from tunefarm_agent.device_memory import is_exhausted, taken, too_much
from tunefarm_agent.frames import commands as serve_commands
from tunefarm_agent.measuring import Bench, CandidateFailed, DataUnreadable
from tunefarm_agent.rpc_session import TVM_ERRORS, RpcSession, Session, SessionLost, describe
from tunefarm_agent.steady import Turn
from tunefarm_agent.vm_model import VmModel


class Measurer:
    """Answers commands. At most one session is open."""

    def __init__(self) -> None:
        self._confinement: Confinement | None = None
        self._session: Session | None = None
        self._bench: Bench | None = None
        self._model: VmModel | None = None
        # Of the device's memory, by what runs or ran last.
        self._needed = 0

    def answer(self, command: Json) -> Json:
        """The reply to one command; never raises for what a candidate does."""
        operations = {
            "configure": self._configure,
            "open": self._open,
            "check": self._check,
            "kernel": self._kernel,
            "reference": self._reference,
            "model_open": self._model_open,
            "model_outputs": self._model_outputs,
            "model_first": self._model_first,
            "model_time": self._model_time,
            "model_kernels": self._model_kernels,
            "end": self._end,
        }
        try:
            self._needed = commands.bytes_needed(command) or self._needed
            return operations[command["op"]](command)
        except CandidateFailed as error:
            return self._failure(error.kind, str(error))
        except (SessionLost, DataUnreadable) as error:
            return lost(str(error))
        except TVM_ERRORS as error:
            try:
                return self._blame(error)
            except SessionLost as lost_session:
                return lost(str(lost_session))

    def _blame(self, error: BaseException) -> Json:
        """A crash of the session, or an exception from the far side: both are the candidate's."""
        if self._session is None:
            return lost(f"the measuring process failed: {describe(error)}")
        death = self._session.death_behind(error)
        return self._failure(RUN_ERROR, death if death is not None else describe(error))

    def _failure(self, kind: str, message: str) -> Json:
        return failed(kind, message, self._needed if is_exhausted(message) else None)

    def _configure(self, command: Json) -> Json:
        self._close()
        self._confinement = commands.confinement_from(command["confinement"])
        return ok()

    def _open(self, command: Json) -> Json:
        """`used`: a candidate ran in this session before, so it may have been harmed."""
        session = self._session
        if command["fresh"] or session is None or session.death() is not None:
            self._close()
            session = self._new_session()
        return ok(used=session.used, pid=session.pid)

    def _check(self, command: Json) -> Json:
        """`note`: what a candidate that ran out of the device's memory is told of it."""
        self._close()
        room, needed = self._new_session().room, command["exhausted"]
        if room is None or needed is None:
            return ok(note="")
        if room.is_taken(needed):
            raise SessionLost(taken(room, needed))
        return ok(note=f"{too_much(room, needed)}; ")

    def _new_session(self) -> Session:
        if self._confinement is None:
            raise SessionLost("no confinement was set")
        opened = BoardSession if self._confinement.place.address else RpcSession
        session: Session = opened(self._confinement)
        self._session, self._bench = session, Bench(session, self._confinement.memory)
        return session

    def _close(self) -> None:
        session, self._session, self._bench, self._model = self._session, None, None, None
        if session is not None and not session.close():
            raise SessionLost("processes of the last session can't be killed")

    def _kernel(self, command: Json) -> Json:
        if self._bench is None:
            raise SessionLost("no session is open")
        kernel = commands.kernel_from(command["kernel"])
        try:
            found = self._bench.measure(
                kernel,
                commands.expected_from(command["expected"]),
                commands.evaluation_from(command["evaluation"]),
            )
        finally:
            if not command["keep"]:
                self._bench.forget(kernel)
        return ok(seconds=found.seconds, number=found.number, max_rel_error=found.max_rel_error, let_go=found.let_go)

    def _reference(self, command: Json) -> Json:
        if self._bench is None:
            raise SessionLost("no session is open")
        kernel, evaluation = commands.kernel_from(command["kernel"]), commands.evaluation_from(command["evaluation"])
        assert evaluation is not None
        return ok(seconds=self._bench.time_reference(kernel, evaluation))

    def _model_open(self, command: Json) -> Json:
        self._configure(command)
        session = self._new_session()
        place = self._confinement.place if self._confinement is not None else Place()
        model = commands.model_from(command["model"])
        self._model = VmModel(session, model, command["example"], has_clock=place == Place())
        return ok()

    def _model_outputs(self, command: Json) -> Json:
        self._opened().write_outputs(command["inputs"], command["sets"], command["out"])
        return ok()

    def _model_first(self, _: Json) -> Json:
        return ok(seconds=self._opened().time_first())

    def _model_time(self, command: Json) -> Json:
        return ok(seconds=self._opened().time(Turn(**command["turn"])))

    def _model_kernels(self, command: Json) -> Json:
        return ok(kernels=self._opened().time_kernels(command["runs"], command["warm_up"]))

    def _opened(self) -> VmModel:
        if self._model is None:
            raise SessionLost("no model is open")
        return self._model

    def _end(self, _: Json) -> Json:
        self._close()
        if not kill_children(patience=2.0):
            raise SessionLost("a candidate's processes can't be killed")
        return ok()


if __name__ == "__main__":
    serve_commands(Measurer().answer)
    kill_children(patience=2.0)
