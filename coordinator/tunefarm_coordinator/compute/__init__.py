"""The Ray side: a supervised child process that drives searchers and builders."""
