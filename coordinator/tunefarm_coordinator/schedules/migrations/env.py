"""Alembic's entry: migrates the connection that `schema.migrate` hands over, in its transaction."""

from alembic import context

from tunefarm_coordinator.schedules.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
