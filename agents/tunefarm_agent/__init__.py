"""The tunefarm device agent: leases in, outcomes out."""
