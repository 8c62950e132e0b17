"""The tunefarm coordinator: services, job brain, farm desk, schedule store."""
