"""Slow, obvious networks of any block under any optimizer: PyTorch's autograd and PyTorch's optimizers, one seed at a time.

A parameter is a matrix as the mathematics writes it; its gradient is multiplied by its order (`orders`) before an optimizer of
PyTorch sees it, and the optimizer's own rate is `unit` times the problem's. Nothing is shared with the package but the order in
which numbers are drawn.
"""

from dataclasses import dataclass

import numpy as np
from naive_network import Run, batch_loss

from limits.optimizers import SGD, Adam, Muon, SignSGD


@dataclass
class Layer:
    """The matrices W_i of all blocks, the order of their gradients, and the optimizer's rate at eta = 1."""

    matrices: list
    order: float
    unit: float


def drawn(problem, width, blocks, seed, s, block_width):
    """U (n, d_in), V (n, d_out) and for every block its list of matrices, float64."""
    rng, k = np.random.default_rng([seed, s]), problem.model.block_depth
    u, v = rng.standard_normal((width, problem.d_in)), rng.standard_normal((width, problem.d_out))
    sizes = [width, *[block_width or width] * (k - 1), width]
    betas = [float(beta) for beta in problem.parametrization.layers(k)[2]]
    shapes = list(zip(sizes[1:], sizes, betas, strict=False))
    return u, v, [[rng.standard_normal((r, c)) / c**0.5 * blocks**-beta for r, c, beta in shapes] for _ in range(blocks)]


def branch(torch, model, x, matrices):
    """What a block adds before its multiplier, of rows x."""
    phi = {"linear": lambda z: z, "relu": torch.relu, "tanh": torch.tanh}[model.phi.name]
    y = x
    if model.layer_norm:
        y = torch.nn.functional.layer_norm(y, y.shape[-1:], eps=1e-5)
    if model.form == "pre":
        return phi(y) @ matrices[0].T
    if model.form == "mlp":
        return phi(y @ matrices[0].T) @ matrices[1].T
    for w in matrices:
        y = phi(y @ w.T)
    return y - y.mean(-1, keepdim=True) if model.mean_subtraction and model.phi.name != "linear" else y


def layers(problem, width, blocks, weights):
    """Of every layer of the blocks: order of its gradient n L^(alpha + the others' betas), and c L^-gamma."""
    alpha, gammas, betas = problem.parametrization.layers(problem.model.block_depth)
    found = []
    for i, (gamma, beta) in enumerate(zip(gammas, betas, strict=True)):
        rows, columns = weights[0][i].shape
        unit = {SGD: 1 / width, Muon: (rows / columns) ** 0.5}.get(type(problem.optimizer), 1 / columns)
        order = width * blocks ** float(alpha + sum(betas) - beta)
        found.append(Layer([block[i] for block in weights], order, unit * blocks ** -float(gamma)))
    return found


def newton_schulz(x, iterations=5):
    """The published iteration, in the type of x."""
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x) / x.norm()
    for _ in range(iterations):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


class ByHand:
    """What PyTorch has no optimizer for, or only a narrow one: decay first, then W <- W - rate * direction."""

    def __init__(self, direction, groups, decay):
        self.direction, self.groups, self.decay, self.state = direction, groups, decay, {}

    def step(self, rates):
        for group in self.groups:
            for p in group["params"]:
                eta = rates[group["which"]]
                p.mul_(1 - eta * self.decay)
                p.sub_(group["unit"] * self.direction(p.grad, eta, self.state.setdefault(p, {})))


def heavy_ball(beta):
    def direction(g, eta, state):
        state["v"] = beta * state.get("v", 0) + eta * g
        return state["v"]

    return direction


def signs(beta):
    def direction(g, eta, state):
        state["m"] = beta * state.get("m", 0) + (1 - beta) * g
        return eta * state["m"].sign()

    return direction


def muon(optimizer):
    def direction(g, eta, state):
        m = state["m"] = optimizer.momentum * state.get("m", 0) + g
        return eta * newton_schulz(g + optimizer.momentum * m if optimizer.nesterov else m, optimizer.iterations)

    return direction


class FromTorch:
    """An optimizer of PyTorch; its decay is a share of the parameter's own rate, ours of the problem's."""

    def __init__(self, kind, groups, decay, **options):
        decays = [{"weight_decay": decay / group["unit"]} if decay else {} for group in groups]
        self.optimizer = kind([g | d | {"lr": 1.0} for g, d in zip(groups, decays, strict=True)], **options)

    def step(self, rates):
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["which"]] * group["unit"]
        self.optimizer.step()


def optimizers(torch, problem, groups, ends):
    """What moves the blocks and what moves the ends."""
    one, decay = problem.optimizer, problem.optimizer.weight_decay
    both = groups + ends
    if isinstance(one, SGD):
        constant = len(set(one.schedule())) == len(set(one.schedule("input_lr"))) == len(set(one.schedule("output_lr"))) == 1
        if not decay and (constant or not one.momentum):  # else ours is another one: decoupled, schedules before the sum
            return [FromTorch(torch.optim.SGD, both, 0, momentum=one.momentum)]
        return [ByHand(heavy_ball(one.momentum), both, decay)]
    if isinstance(one, SignSGD):
        return [ByHand(signs(one.momentum), both, decay)]
    if isinstance(one, Adam):
        kind = torch.optim.AdamW if decay else torch.optim.Adam
        return [FromTorch(kind, both, decay, betas=(one.beta1, one.beta2), eps=one.eps)]
    adam = FromTorch(torch.optim.AdamW, ends, decay, betas=(0.9, 0.95), eps=1e-8, **({} if decay else {"weight_decay": 0}))
    return [ByHand(muon(one), groups, decay), adam]


def trained(problem, width, blocks, seed, s, block_width=None):
    """Train one network: its outputs, states and n times the gradients at them."""
    import torch

    n, L, model = width, blocks, problem.model
    c = model.multiplier * L ** -float(problem.parametrization.alpha)
    u, v, w = drawn(problem, n, L, seed, s, block_width)
    U, V = (torch.nn.Parameter(torch.tensor(p)) for p in (u, v))
    W = [[torch.nn.Parameter(torch.tensor(p)) for p in block] for block in w]
    of_blocks = layers(problem, n, L, W)
    of_ends = {"input_lr": Layer([U], n, 1.0), "output_lr": Layer([V], n, 1.0)}
    groups = [{"params": layer.matrices, "unit": layer.unit, "which": "lr"} for layer in of_blocks]
    ends = [{"params": end.matrices, "unit": 1.0, "which": which} for which, end in of_ends.items()]
    parameters = [(p, layer.order) for layer in (*of_blocks, *of_ends.values()) for p in layer.matrices]
    moving = optimizers(torch, problem, groups, ends)
    xi, outputs, states, deltas = torch.tensor(problem.evaluated), [], [], []
    for t in range(problem.steps + 1):
        x = [xi @ U.T / problem.d_in**0.5]
        for block in W:
            x.append(x[-1] + c * branch(torch, model, x[-1], block))
        f = x[-1] @ V / n
        outputs.append(f.detach().numpy())
        states.append([state.detach().numpy() for state in x])
        if t < problem.steps:
            loss = batch_loss(torch, problem, f, t)
            deltas.append([n * g.numpy() for g in torch.autograd.grad(loss, x, retain_graph=True)])
            for (p, order), g in zip(parameters, torch.autograd.grad(loss, [p for p, _ in parameters]), strict=True):
                p.grad = order * g
            with torch.no_grad():
                for one in moving:
                    one.step({which: float(problem.optimizer.schedule(which)[t]) for which in ("lr", "input_lr", "output_lr")})
    deltas.append(np.zeros_like(states[-1]))
    return Run(np.array(outputs), np.array(states), np.array(deltas))
