"""Medians, spreads, and ratios taken repetition by repetition."""

from statistics import median, quantiles


def values(results, contestant, metric):
    out = []
    for r in results.get(contestant) or []:
        v = r
        for key in metric.split("."):
            v = v.get(key) if isinstance(v, dict) else None
        out.append(v)
    return out


def summary(results, contestant, metric):
    """(median, smallest, largest) of what was measured, or None."""
    v = [x for x in values(results, contestant, metric) if x is not None]
    return (median(v), min(v), max(v)) if v else None


def ratios(results, metric, above, below, results_below=None):
    """above/below within each repetition: a disturbance that lasts hits both."""
    a = values(results, above, metric)
    b = values(results_below if results_below is not None else results, below, metric)
    return [x / y for x, y in zip(a, b) if x is not None and y]


def middle_half(v):
    if len(v) < 2:
        return (v[0], v[0])
    if len(v) < 4:
        return (min(v), max(v))
    q = quantiles(v, n=4, method="inclusive")
    return (q[0], q[2])
