"""Answers to the exercises of chapter 1: wrong ones with what they must be told, and right ones."""

RIGHT = {
    "1.1": [
        (
            "other weights, and a corner on the line where the answer is 1",
            """
def gate_weights(name):
    if name == "OR":
        return [3, 2, -2]
    if name == "NAND":
        return -0.1, -0.2, 0.2
    return 0.3, -0.4, -0.3
""",
        ),
        (
            "rounding leaves a little less than 0",
            """
def gate_weights(name):
    if name == "OR":
        return 0.3, 0.3, -0.1 - 0.2
    if name == "NAND":
        return -3, -3, 5
    return 1, -1, -1
""",
        ),
        (
            "tensors",
            """
def gate_weights(name):
    w1, w2, b = {"OR": (1, 1, -0.5), "NAND": (-1, -1, 1.5), "AND NOT": (2, -2, -1)}[name]
    return torch.tensor([w1, w2, b])
""",
        ),
    ],
    "1.2": [
        (
            "one hidden neuron for each of the two ones",
            """
def xor_parameters():
    return [[1, -1], [-1, 1]], [-0.5, -0.5], [1, 1], -0.5
""",
        ),
        (
            "counts, and takes two away from two",
            """
def xor_parameters():
    return [[1, 1], [1, 1]], [-0.5, -1.5], [1, -2], -0.5
""",
        ),
        (
            "tensors in the shapes of nn.Linear",
            """
def xor_parameters():
    W1 = torch.tensor([[2.0, 2.0], [-2.0, -2.0]], requires_grad=True)
    return W1, torch.tensor([-1.0, 3.0]), torch.tensor([[5.0, 5.0]]), torch.tensor([-7.0])
""",
        ),
        (
            "a bias in two lists",
            """
def xor_parameters():
    return [[1, 1], [1, 1]], [-0.5, -1.5], [1, -1], [[-0.5]]
""",
        ),
    ],
    "1.3": [
        (
            "asks PyTorch",
            """
def count_parameters(widths):
    layers = [nn.Linear(n, m) for n, m in zip(widths, widths[1:])]
    return sum(p.numel() for p in nn.Sequential(*layers).parameters())
""",
        ),
        (
            "with a loop, and leaves the list empty",
            """
def count_parameters(widths):
    total = 0
    before = widths.pop(0)
    while widths:
        after = widths.pop(0)
        total += before * after + after
        before = after
    return total
""",
        ),
    ],
    "1.4": [
        (
            "asks PyTorch, and returns a tensor",
            """
def push_needed(x, w, b):
    x, w = torch.tensor(x, dtype=torch.float64), torch.tensor(w, dtype=torch.float64)
    return (w @ x + b).abs() / w.abs().sum()
""",
        ),
        (
            "moves by 1 and sees what that does",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    moved = [xi + 1 if wi > 0 else xi - 1 for wi, xi in zip(w, x)]
    rise = sum(wi * xi for wi, xi in zip(w, moved)) + b - z
    return z / rise if z > 0 else -z / rise
""",
        ),
    ],
}

WRONG = {
    "1.1": [
        (
            "the threshold with the sign of a threshold",
            """
def gate_weights(name):
    return {"OR": (1, 1, 0.5), "NAND": (-1, -1, -1.5), "AND NOT": (1, -1, 0.5)}[name]
""",
            "wrong side",
        ),
        (
            "forgets that A(0) = 1",
            """
def gate_weights(name):
    return {"OR": (1, 1, 0), "NAND": (-1, -1, 1), "AND NOT": (1, -1, 0)}[name]
""",
            "exactly 0",
        ),
        (
            "does not look at the name",
            """
def gate_weights(name):
    return 1, 1, -0.5
""",
            "same weights",
        ),
        (
            "turns the weights of AND and keeps its bias",
            """
def gate_weights(name):
    return {"OR": (1, 1, -0.5), "NAND": (-1, -1, -1.5), "AND NOT": (1, -1, -0.5)}[name]
""",
            "NAND",
        ),
        (
            "NOR for NAND",
            """
def gate_weights(name):
    return {"OR": (1, 1, -0.5), "NAND": (-1, -1, 0.5), "AND NOT": (1, -1, -0.5)}[name]
""",
            "which is NOR",
        ),
        (
            "OR that listens to one input only",
            """
def gate_weights(name):
    return {"OR": (1, 0, -0.5), "NAND": (-1, -1, 1.5), "AND NOT": (1, -1, -0.5)}[name]
""",
            "OR at (0, 1)",
        ),
        (
            "the other input is the one that must not be",
            """
def gate_weights(name):
    return {"OR": (1, 1, -0.5), "NAND": (-1, -1, 1.5), "AND NOT": (-1, 1, -0.5)}[name]
""",
            "which is x2 AND NOT x1",
        ),
        (
            "AND NOT that hands on its first input",
            """
def gate_weights(name):
    return {"OR": (1, 1, -0.5), "NAND": (-1, -1, 1.5), "AND NOT": (1, 0, -0.5)}[name]
""",
            "AND NOT at (1, 1)",
        ),
        (
            "a bias and nothing else",
            """
def gate_weights(name):
    return {"OR": (0, 0, 1), "NAND": (0, 0, 1), "AND NOT": (0, 0, -1)}[name]
""",
            "does not look at its inputs",
        ),
        (
            "the gate itself, not its weights",
            """
def gate_weights(name):
    return lambda a, b: a | b
""",
            "is a function",
        ),
        (
            "weights without a bias",
            """
def gate_weights(name):
    return 1, 1
""",
            "2 entries, expected 3",
        ),
        (
            "the weights in a tuple of their own",
            """
def gate_weights(name):
    return (1, 1), -0.5
""",
            "2 entries, expected 3",
        ),
        (
            "forgets to return",
            """
def gate_weights(name):
    w1, w2, b = 1, 1, -0.5
""",
            "is None",
        ),
        (
            "leaves a gate out",
            """
def gate_weights(name):
    if name == "OR":
        return 1, 1, -0.5
    if name == "AND NOT":
        return 1, -1, -0.5
""",
            'gate_weights("NAND") returned nothing',
        ),
        (
            "expects small letters",
            """
def gate_weights(name):
    return {"or": (1, 1, -0.5), "nand": (-1, -1, 1.5), "and not": (1, -1, -0.5)}[name]
""",
            "KeyError",
        ),
    ],
    "1.2": [
        (
            "Python's ^",
            """
def xor_parameters():
    return lambda x1, x2: x1 ^ x2
""",
            "found a function",
        ),
        (
            "AND in place of NAND",
            """
def xor_parameters():
    return [[1, 1], [1, 1]], [-0.5, -1.5], [1, 1], -1.5
""",
            "which is AND",
        ),
        (
            "OR at the end in place of AND",
            """
def xor_parameters():
    return [[1, 1], [-1, -1]], [-0.5, 1.5], [1, 1], -0.5
""",
            "always 1",
        ),
        (
            "columns for rows",
            """
def xor_parameters():
    return [[1, -1], [1, -1]], [-0.5, 1.5], [1, 1], -1.5
""",
            "rows and columns of W1 exchanged",
        ),
        (
            "columns for rows, and a wrong bias",
            """
def xor_parameters():
    return [[1, -1], [1, -1]], [-0.5, 0.5], [1, 1], -1.5
""",
            "A weight may be negative",
        ),
        (
            "AND in place of AND NOT at the end",
            """
def xor_parameters():
    return [[1, 1], [1, 1]], [-0.5, -1.5], [2, 1], -0.5
""",
            "which is OR",
        ),
        (
            "the same hidden neuron twice",
            """
def xor_parameters():
    return [[1, 1], [1, 1]], [-0.5, -0.5], [1, 1], -1.5
""",
            "so the output cannot differ",
        ),
        (
            "hidden neurons that copy the inputs",
            """
def xor_parameters():
    return [[1, 0], [0, 1]], [-0.5, -0.5], [1, 1], -1.5
""",
            "no single output neuron",
        ),
        (
            "the right weights for a network without the step",
            """
def xor_parameters():
    return [[1, -1], [-1, 1]], [0, 0], [1, 1], 0
""",
            "expected 0, 1, 1, 0",
        ),
        (
            "nine numbers in a row",
            """
def xor_parameters():
    return [1, 1, -0.5, -1, -1, 1.5, 1, 1, -1.5]
""",
            "found a list of 9",
        ),
        (
            "three hidden neurons",
            """
def xor_parameters():
    return [[1, 1], [-1, -1], [1, 0]], [-0.5, 1.5, -0.5], [1, 1, 0], -1.5
""",
            "two rows",
        ),
        (
            "the bias among the weights",
            """
def xor_parameters():
    return [[1, 1, -0.5], [-1, -1, 1.5]], [0, 0], [1, 1], -1.5
""",
            "3 entries, expected 2",
        ),
        (
            "a single neuron",
            """
def xor_parameters():
    return 1, 1, -0.5
""",
            "found a list of 3",
        ),
        (
            "forgets to return",
            """
def xor_parameters():
    W1, b1, w2, b2 = [[1, 1], [-1, -1]], [-0.5, 1.5], [1, 1], -1.5
""",
            "found None",
        ),
    ],
    "1.3": [
        (
            "forgets the biases",
            """
def count_parameters(widths):
    return sum(n * m for n, m in zip(widths, widths[1:]))
""",
            "weights alone",
        ),
        (
            "gives the inputs biases",
            """
def count_parameters(widths):
    return sum(n * m for n, m in zip(widths, widths[1:])) + sum(widths)
""",
            "inputs were given biases",
        ),
        (
            "one bias a layer",
            """
def count_parameters(widths):
    return sum(n * m + 1 for n, m in zip(widths, widths[1:]))
""",
            "a single bias",
        ),
        (
            "a bias for each neuron of the layer before",
            """
def count_parameters(widths):
    return sum(n * (m + 1) for n, m in zip(widths, widths[1:]))
""",
            "too many",
        ),
        (
            "only networks with one hidden layer",
            """
def count_parameters(widths):
    total = (widths[0] + 1) * widths[1]
    if len(widths) > 2:
        total += (widths[1] + 1) * widths[2]
    return total
""",
            "wrong for",
        ),
        (
            "returns inside the loop",
            """
def count_parameters(widths):
    total = 0
    for n, m in zip(widths, widths[1:]):
        total += (n + 1) * m
        return total
""",
            "only the first layer",
        ),
        (
            "expects three widths",
            """
def count_parameters(widths):
    a, b, c = widths
    return (a + 1) * b + (b + 1) * c
""",
            "not enough values to unpack",
        ),
        (
            "the first and the last width",
            """
def count_parameters(widths):
    return (widths[0] + 1) * widths[-1]
""",
            "too few",
        ),
        (
            "the number of neurons",
            """
def count_parameters(widths):
    return sum(widths)
""",
            "too few",
        ),
        (
            "the number of the example",
            """
def count_parameters(widths):
    return 79510
""",
            "too many",
        ),
        (
            "prints in place of returning",
            """
def count_parameters(widths):
    print(sum((n + 1) * m for n, m in zip(widths, widths[1:])))
""",
            "is None",
        ),
    ],
    "1.4": [
        (
            "keeps the sign of the sum",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return z / sum(abs(wi) for wi in w)
""",
            "the push is, too",
        ),
        (
            "looks only at inputs with the answer 1",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return max(z, 0) / sum(abs(wi) for wi in w)
""",
            "you push by nothing",
        ),
        (
            "lets negative weights cancel",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z) / abs(sum(w))
""",
            "cancel in your count",
        ),
        (
            "cancels, and keeps the sign",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return z / sum(w)
""",
            "cancel in your count",
        ),
        (
            "counts the inputs",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z) / len(w)
""",
            "counts the same",
        ),
        (
            "the distance to the line",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z) / sum(wi * wi for wi in w) ** 0.5
""",
            "straight walk",
        ),
        (
            "forgets the bias",
            """
def push_needed(x, w, b):
    return abs(sum(wi * xi for wi, xi in zip(w, x))) / sum(abs(wi) for wi in w)
""",
            "bias is not in the sum",
        ),
        (
            "the whole sum",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z)
""",
            "whole way",
        ),
        (
            "one input alone",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z) / max(abs(wi) for wi in w)
""",
            "past 0",
        ),
        (
            "only for two inputs",
            """
def push_needed(x, w, b):
    return abs(w[0] * x[0] + w[1] * x[1] + b) / (abs(w[0]) + abs(w[1]))
""",
            "3 inputs",
        ),
        (
            "the push of each input",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return [abs(z) / sum(abs(v) for v in w)] * len(w)
""",
            "is a list of 2",
        ),
        (
            "forgets to return",
            """
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    push = abs(z) / sum(abs(wi) for wi in w)
""",
            "is None",
        ),
    ],
}
