"""Pure: budget, ledger, early stop, the job state machine. Events in, instructions out."""
