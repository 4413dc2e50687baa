"""An LSTM and a GRU as float64 loops, written from the papers' equations.

Slow, plain, and sharing no code with the package: what the tests compare with.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm(x, weights, *, initial=None, mask=None, activation=np.tanh, gate=sigmoid):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Keras's columns are: input, forget, candidate, output. Returns every signal as
    (batch, time, units); NaN at a masked step, except for the states, which hold.
    """
    kernel, recurrent, bias = _parts(weights)
    units = recurrent.shape[0]
    batch, time, _ = x.shape
    bias = np.zeros(4 * units) if bias is None else bias
    h, c = _initial(initial, batch, units, 2)
    names = ("input", "forget", "candidate", "output", "cell", "hidden")
    out = {name: np.full((batch, time, units), np.nan) for name in names}
    w_i, w_f, w_g, w_o = (kernel[:, k * units : (k + 1) * units] for k in range(4))
    u_i, u_f, u_g, u_o = (recurrent[:, k * units : (k + 1) * units] for k in range(4))
    b_i, b_f, b_g, b_o = (bias[k * units : (k + 1) * units] for k in range(4))
    for s in range(batch):
        for t in range(time):
            if mask is None or mask[s, t]:
                i = gate(x[s, t] @ w_i + h[s] @ u_i + b_i)
                f = gate(x[s, t] @ w_f + h[s] @ u_f + b_f)
                g = activation(x[s, t] @ w_g + h[s] @ u_g + b_g)
                o = gate(x[s, t] @ w_o + h[s] @ u_o + b_o)
                c[s] = f * c[s] + i * g
                h[s] = o * activation(c[s])
                for name, value in zip(names[:4], (i, f, g, o), strict=True):
                    out[name][s, t] = value
            out["cell"][s, t] = c[s]
            out["hidden"][s, t] = h[s]
    return out


def gru(
    x,
    weights,
    *,
    initial=None,
    mask=None,
    activation=np.tanh,
    gate=sigmoid,
    reset_after=True,
):
    """Cho et al. 2014, in Keras's sense: an update of 1 keeps the old state.

    Keras's columns are: update, reset, candidate.
    """
    kernel, recurrent, bias = _parts(weights)
    units = recurrent.shape[0]
    batch, time, _ = x.shape
    bias = np.zeros((2, 3 * units)) if bias is None else bias
    if not reset_after and bias.ndim == 1:
        bias = np.stack([bias, np.zeros_like(bias)])
    (h,) = _initial(initial, batch, units, 1)
    names = ("update", "reset", "candidate", "hidden")
    out = {name: np.full((batch, time, units), np.nan) for name in names}
    w_z, w_r, w_g = (kernel[:, k * units : (k + 1) * units] for k in range(3))
    u_z, u_r, u_g = (recurrent[:, k * units : (k + 1) * units] for k in range(3))
    b_z, b_r, b_g = (bias[:, k * units : (k + 1) * units] for k in range(3))
    for s in range(batch):
        for t in range(time):
            if mask is None or mask[s, t]:
                z = gate(x[s, t] @ w_z + b_z[0] + h[s] @ u_z + b_z[1])
                r = gate(x[s, t] @ w_r + b_r[0] + h[s] @ u_r + b_r[1])
                if reset_after:
                    g = activation(x[s, t] @ w_g + b_g[0] + r * (h[s] @ u_g + b_g[1]))
                else:
                    g = activation(x[s, t] @ w_g + b_g[0] + (r * h[s]) @ u_g)
                h[s] = z * h[s] + (1 - z) * g
                for name, value in zip(names[:3], (z, r, g), strict=True):
                    out[name][s, t] = value
            out["hidden"][s, t] = h[s]
    return out


def _parts(weights):
    weights = [np.asarray(w, "float64") for w in weights]
    return (*weights, None)[:3]


def _initial(initial, batch, units, states):
    if initial is None:
        return [np.zeros((batch, units)) for _ in range(states)]
    return [np.array(state, "float64") for state in initial]
