"""Answers to the exercises of chapter 1: wrong ones with what they must be told, and right ones."""

RIGHT = {
    "1.1": [
        (
            "other weights, and a corner on the line where the answer is 1",
            """
def gate_weights(name):
    if name == "AND":
        return 0.1, 0.2, -0.3  # rounding leaves 5.6e-17
    if name == "OR":
        return [3, 2, -2]
    return -2, -3, 3
""",
        ),
        (
            "tensors",
            """
def gate_weights(name):
    w1, w2, b = {"AND": (1, 1, -1.5), "OR": (1, 1, -0.5), "NAND": (-1, -1, 1.5)}[name]
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
}

WRONG = {
    "1.1": [
        (
            "the threshold with the sign of a threshold",
            """
def gate_weights(name):
    return {"AND": (1, 1, 1.5), "OR": (1, 1, 0.5), "NAND": (-1, -1, -1.5)}[name]
""",
            "wrong side",
        ),
        (
            "forgets that A(0) = 1",
            """
def gate_weights(name):
    return {"AND": (1, 1, -1), "OR": (1, 1, 0), "NAND": (-1, -1, 1)}[name]
""",
            "exactly 0",
        ),
        (
            "does not look at the name",
            """
def gate_weights(name):
    return 1, 1, -1.5
""",
            "same weights",
        ),
        (
            "turns the weights of AND and keeps its bias",
            """
def gate_weights(name):
    return {"AND": (1, 1, -1.5), "OR": (1, 1, -0.5), "NAND": (-1, -1, -1.5)}[name]
""",
            "NAND",
        ),
        (
            "NOR for NAND",
            """
def gate_weights(name):
    return {"AND": (1, 1, -1.5), "OR": (1, 1, -0.5), "NAND": (-1, -1, 0.5)}[name]
""",
            "which is NOR",
        ),
        (
            "OR that listens to one input only",
            """
def gate_weights(name):
    return {"AND": (1, 1, -1.5), "OR": (1, 0, -0.5), "NAND": (-1, -1, 1.5)}[name]
""",
            "OR at (0, 1)",
        ),
        (
            "a bias and nothing else",
            """
def gate_weights(name):
    return {"AND": (0, 0, -1), "OR": (0, 0, 1), "NAND": (0, 0, 1)}[name]
""",
            "does not look at its inputs",
        ),
        (
            "the gate itself, not its weights",
            """
def gate_weights(name):
    return {"AND": lambda a, b: a & b, "OR": lambda a, b: a | b, "NAND": lambda a, b: 1 - (a & b)}[
        name
    ]
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
            "forgets to return",
            """
def gate_weights(name):
    w1, w2, b = 1, 1, -1.5
""",
            "is None",
        ),
        (
            "expects small letters",
            """
def gate_weights(name):
    return {"and": (1, 1, -1.5), "or": (1, 1, -0.5), "nand": (-1, -1, 1.5)}[name]
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
            "both at (0, 0) and at (0, 1)",
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
}
