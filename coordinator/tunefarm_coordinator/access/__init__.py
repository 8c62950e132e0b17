"""Who may do what: the farm's certificate authority, tokens, invites, roles."""
