"""Each kind of cell as a float64 loop, written from the equations of the papers.

The tests compare with these functions, which are slow and plain, and share no code with
the package.

Each function takes its input `x` (batch, time, features) and Keras's `weights`, and may
take the `initial` states in Keras's order, a `mask` (batch, time), the functions
`activation` and `gate`, and the dropout that Keras drew: `drop_inputs` and
`drop_hidden` are factors for each block, (blocks, batch, features) and (blocks, batch,
units). Each returns every signal as (batch, time, units). At masked steps, gates are
NaN, and the states keep their values.

`change(name, sample, step, value)` returns the value that replaces that of a signal.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def same(name, sample, step, value):
    """Returns the value unchanged."""
    return value


def lstm(
    x,
    weights,
    *,
    initial=None,
    mask=None,
    activation=np.tanh,
    gate=sigmoid,
    drop_inputs=None,
    drop_hidden=None,
    change=same,
):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Keras's columns are: input, forget, candidate, output.
    """
    kernel, recurrent, bias = _parts(weights)
    units = recurrent.shape[0]
    batch, time, features = x.shape
    bias = np.zeros(4 * units) if bias is None else bias
    h, c = _initial(initial, batch, units, 2)
    in_i, in_f, in_g, in_o = _factors(drop_inputs, 4, batch, features)
    re_i, re_f, re_g, re_o = _factors(drop_hidden, 4, batch, units)
    names = ("input", "forget", "candidate", "output", "cell", "hidden")
    out = {name: np.full((batch, time, units), np.nan) for name in names}
    w_i, w_f, w_g, w_o = (kernel[:, k * units : (k + 1) * units] for k in range(4))
    u_i, u_f, u_g, u_o = (recurrent[:, k * units : (k + 1) * units] for k in range(4))
    b_i, b_f, b_g, b_o = (bias[k * units : (k + 1) * units] for k in range(4))
    for s in range(batch):
        for t in range(time):
            if mask is None or mask[s, t]:
                now, old = x[s, t], h[s]
                i = gate((now * in_i[s]) @ w_i + (old * re_i[s]) @ u_i + b_i)
                f = gate((now * in_f[s]) @ w_f + (old * re_f[s]) @ u_f + b_f)
                g = activation((now * in_g[s]) @ w_g + (old * re_g[s]) @ u_g + b_g)
                o = gate((now * in_o[s]) @ w_o + (old * re_o[s]) @ u_o + b_o)
                i, f = change("input", s, t, i), change("forget", s, t, f)
                g, o = change("candidate", s, t, g), change("output", s, t, o)
                c[s] = change("cell", s, t, f * c[s] + i * g)
                h[s] = change("hidden", s, t, o * activation(c[s]))
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
    drop_inputs=None,
    drop_hidden=None,
    reset_after=True,
    change=same,
):
    """Cho et al. 2014, in Keras's sense: an update of 1 keeps the old state.

    Keras's columns are: update, reset, candidate.
    """
    kernel, recurrent, bias = _parts(weights)
    units = recurrent.shape[0]
    batch, time, features = x.shape
    bias = np.zeros((2, 3 * units)) if bias is None else bias
    if not reset_after and bias.ndim == 1:
        bias = np.stack([bias, np.zeros_like(bias)])
    (h,) = _initial(initial, batch, units, 1)
    in_z, in_r, in_g = _factors(drop_inputs, 3, batch, features)
    re_z, re_r, re_g = _factors(drop_hidden, 3, batch, units)
    names = ("update", "reset", "candidate", "hidden")
    out = {name: np.full((batch, time, units), np.nan) for name in names}
    w_z, w_r, w_g = (kernel[:, k * units : (k + 1) * units] for k in range(3))
    u_z, u_r, u_g = (recurrent[:, k * units : (k + 1) * units] for k in range(3))
    b_z, b_r, b_g = (bias[:, k * units : (k + 1) * units] for k in range(3))
    for s in range(batch):
        for t in range(time):
            if mask is None or mask[s, t]:
                now, old = x[s, t], h[s]
                z = gate(
                    (now * in_z[s]) @ w_z + b_z[0] + (old * re_z[s]) @ u_z + b_z[1]
                )
                r = gate(
                    (now * in_r[s]) @ w_r + b_r[0] + (old * re_r[s]) @ u_r + b_r[1]
                )
                z, r = change("update", s, t, z), change("reset", s, t, r)
                if reset_after:
                    past = r * ((old * re_g[s]) @ u_g + b_g[1])
                else:
                    past = (r * old * re_g[s]) @ u_g
                g = activation((now * in_g[s]) @ w_g + b_g[0] + past)
                g = change("candidate", s, t, g)
                h[s] = change("hidden", s, t, z * h[s] + (1 - z) * g)
                for name, value in zip(names[:3], (z, r, g), strict=True):
                    out[name][s, t] = value
            out["hidden"][s, t] = h[s]
    return out


def simple_rnn(
    x,
    weights,
    *,
    initial=None,
    mask=None,
    activation=np.tanh,
    gate=None,
    drop_inputs=None,
    drop_hidden=None,
    change=same,
):
    """Elman 1990: only a hidden state. It has no gates, so `gate` is not used."""
    kernel, recurrent, bias = _parts(weights)
    units = recurrent.shape[0]
    batch, time, features = x.shape
    bias = np.zeros(units) if bias is None else bias
    (h,) = _initial(initial, batch, units, 1)
    (drop_x,) = _factors(drop_inputs, 1, batch, features)
    (drop_h,) = _factors(drop_hidden, 1, batch, units)
    hidden = np.full((batch, time, units), np.nan)
    for s in range(batch):
        for t in range(time):
            if mask is None or mask[s, t]:
                now, old = x[s, t] * drop_x[s], h[s] * drop_h[s]
                new = activation(now @ kernel + old @ recurrent + bias)
                h[s] = change("hidden", s, t, new)
            hidden[s, t] = h[s]
    return {"hidden": hidden}


def lstm_states(gates, *, initial=None, mask=None, activation=np.tanh):
    """Returns the states computed from gates and candidate, (batch, time, units)."""
    gates = {name: np.asarray(value, "float64") for name, value in gates.items()}
    batch, time, units = gates["forget"].shape
    h, c = _initial(initial, batch, units, 2)
    hidden, cell = np.empty((2, batch, time, units))
    for t in range(time):
        real = np.ones((batch, 1), bool) if mask is None else mask[:, t, None]
        kept = gates["forget"][:, t] * c
        c = np.where(real, kept + gates["input"][:, t] * gates["candidate"][:, t], c)
        h = np.where(real, gates["output"][:, t] * activation(c), h)
        hidden[:, t], cell[:, t] = h, c
    return {"hidden": hidden, "cell": cell}


def gru_states(gates, *, initial=None, mask=None, activation=None):
    """Returns the state computed from update and candidate, (batch, time, units)."""
    update = np.asarray(gates["update"], "float64")
    candidate = np.asarray(gates["candidate"], "float64")
    batch, time, units = update.shape
    (h,) = _initial(initial, batch, units, 1)
    hidden = np.empty((batch, time, units))
    for t in range(time):
        real = np.ones((batch, 1), bool) if mask is None else mask[:, t, None]
        mixed = update[:, t] * h + (1 - update[:, t]) * candidate[:, t]
        h = np.where(real, mixed, h)
        hidden[:, t] = h
    return {"hidden": hidden}


def no_states(gates, *, initial=None, mask=None, activation=None):
    """Returns nothing: a basic recurrent network has no signals besides its state."""
    return {}


def _parts(weights):
    weights = [np.asarray(w, "float64") for w in weights]
    return (*weights, None)[:3]


def _initial(initial, batch, units, states):
    if initial is None:
        return [np.zeros((batch, units)) for _ in range(states)]
    return [np.array(state, "float64") for state in initial]


def _factors(drop, blocks, batch, size):
    return np.ones((blocks, batch, size)) if drop is None else np.asarray(drop)
