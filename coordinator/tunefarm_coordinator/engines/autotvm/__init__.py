"""The AutoTVM engine: hand-written templates with knobs, searched with the cost model that all engines share."""
