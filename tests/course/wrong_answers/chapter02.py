"""Answers to the exercises of chapter 2: wrong ones with what they must be told, and right ones."""

PRELUDE = """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return (2 * x * wrong).mean(), (2 * wrong).mean()
"""

RIGHT = {
    "2.1": [
        (
            "plain Python",
            """
def line_gradient(x, y, a, b):
    pairs = list(zip(x.tolist(), y.tolist()))
    da = sum(-2 * u * (v - a * u - b) for u, v in pairs) / len(pairs)
    return da, sum(-2 * (v - a * u - b) for u, v in pairs) / len(pairs)
""",
        ),
        (
            "autograd, and one tensor with both",
            """
def line_gradient(x, y, a, b):
    line = torch.tensor([a, b], dtype=x.dtype, requires_grad=True)
    return torch.autograd.grad(((line[0] * x + line[1] - y) ** 2).mean(), line)[0]
""",
        ),
    ],
    "2.2": [
        (
            "recursion",
            """
def descend(x, y, a, b, lr, updates):
    if updates == 0:
        return [a, b]
    da, db = line_gradient(x, y, a, b)
    return descend(x, y, a - lr * da, b - lr * db, lr, updates - 1)
""",
        ),
    ],
    "2.3": [
        (
            "an optimizer and backward",
            """
def train(network, theta, x, y, lr, updates):
    theta = torch.nn.Parameter(theta.clone())
    optimizer = torch.optim.SGD([theta], lr=lr)
    for _ in range(updates):
        optimizer.zero_grad()
        F.mse_loss(network(theta, x), y).backward()
        optimizer.step()
    return theta.data
""",
        ),
    ],
}

WRONG = {
    "2.1": [
        (
            "the sum over the points",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return (2 * x * wrong).sum(), (2 * wrong).sum()
""",
            "9 times too large",
        ),
        (
            "the residual the other way round",
            """
def line_gradient(x, y, a, b):
    wrong = y - (a * x + b)
    return (2 * x * wrong).mean(), (2 * wrong).mean()
""",
            "wrong sign",
        ),
        (
            "without the 2",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return (x * wrong).mean(), wrong.mean()
""",
            "half of what they should be",
        ),
        (
            "without the x",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return (2 * wrong).mean(), (2 * wrong).mean()
""",
            "both slopes are the same",
        ),
        (
            "first b",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return (2 * wrong).mean(), (2 * x * wrong).mean()
""",
            "in the wrong order",
        ),
        (
            "no mean",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return 2 * x * wrong, 2 * wrong
""",
            "one for each point, expected one number",
        ),
        (
            "mean without parentheses",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
    return (2 * x * wrong).mean, (2 * wrong).mean
""",
            "with parentheses: .mean()",
        ),
        (
            "means too early",
            """
def line_gradient(x, y, a, b):
    x, y = x.mean(), y.mean()
    wrong = a * x + b - y
    return 2 * x * wrong, 2 * wrong
""",
            "the product of two means",
        ),
        (
            "the points moved",
            """
def line_gradient(x, y, a, b):
    x *= a
    wrong = x + b - y
    return (2 * x / a * wrong).mean(), (2 * wrong).mean()
""",
            "your code changed x itself",
        ),
        (
            "no return",
            """
def line_gradient(x, y, a, b):
    wrong = a * x + b - y
""",
            "expected a list of numbers",
        ),
        (
            "the slopes of the absolute residual",
            """
def line_gradient(x, y, a, b):
    sign = (a * x + b - y).sign()
    return (x * sign).mean(), sign.mean()
""",
            "above what it should be",
        ),
    ],
    "2.2": [
        (
            "uphill",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a + lr * da, b + lr * db
    return a, b
""",
            "the loss rises with every update",
        ),
        (
            "one parameter after the other",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        a = a - lr * line_gradient(x, y, a, b)[0]
        b = b - lr * line_gradient(x, y, a, b)[1]
    return a, b
""",
            "that has the new a already",
        ),
        (
            "return inside the loop",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - lr * da, b - lr * db
        return a, b
""",
            "only 1 update was made",
        ),
        (
            "the gradient of the first line",
            """
def descend(x, y, a, b, lr, updates):
    da, db = line_gradient(x, y, a, b)
    for _ in range(updates):
        a, b = a - lr * da, b - lr * db
    return a, b
""",
            "use the gradient of the first line",
        ),
        (
            "one update too few",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(1, updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - lr * da, b - lr * db
    return a, b
""",
            "39 updates were made, expected 40",
        ),
        (
            "the start",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        new_a, new_b = a - lr * da, b - lr * db
    return a, b
""",
            "the line comes back as it was",
        ),
        (
            "the page's step size",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - 0.05 * da, b - 0.05 * db
    return a, b
""",
            "lr = 0.03 and lr = 0.015 lead to the same line",
        ),
        (
            "the page's start",
            """
def descend(x, y, a, b, lr, updates):
    a, b = -2.0, 1.0
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - lr * da, b - lr * db
    return a, b
""",
            "does not start at the a and b given",
        ),
        (
            "the page's number of updates",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(1000):
        da, db = line_gradient(x, y, a, b)
        a, b = a - lr * da, b - lr * db
    return a, b
""",
            "1000 updates were made, expected 40",
        ),
        (
            "the whole way",
            """
def descend(x, y, a, b, lr, updates):
    way = [(a, b)]
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - lr * da, b - lr * db
        way.append((a, b))
    return way
""",
            "nothing of the way there",
        ),
        (
            "half of lr",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - lr / 2 * da, b - lr / 2 * db
    return a, b
""",
            "a is ",
        ),
        (
            "lr only where it is large",
            """
def descend(x, y, a, b, lr, updates):
    for _ in range(updates):
        da, db = line_gradient(x, y, a, b)
        a, b = a - max(lr, 0.03) * da, b - max(lr, 0.02) * db
    return a, b
""",
            "with lr = 0.015, the line[0]",
        ),
    ],
    "2.3": [
        (
            "uphill",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta + lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "the update goes uphill",
        ),
        (
            "the sum of the squares",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).sum()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "4 times too long",
        ),
        (
            "backward without clearing .grad",
            """
def train(network, theta, x, y, lr, updates):
    theta = theta.clone().requires_grad_()
    for _ in range(updates):
        ((network(theta, x) - y) ** 2).mean().backward()
        with torch.no_grad():
            theta -= lr * theta.grad
    return theta.detach()
""",
            "adds the first gradient once more",
        ),
        (
            "the caller's theta",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta.requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        gradient, = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            theta -= lr * gradient
    return theta.detach()
""",
            "your code changed theta itself",
        ),
        (
            "the page's loop, on the caller's theta",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta.requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, theta)
        theta = (theta - lr * gradient).detach()
    return theta
""",
            ".clone() makes one",
        ),
        (
            "the tuple of gradients",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        gradient = torch.autograd.grad(loss, theta)
        theta = theta - lr * gradient
    return theta.detach()
""",
            "one gradient for each tensor asked about",
        ),
        (
            "mean without parentheses",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean
        (gradient,) = torch.autograd.grad(loss, theta)
        theta = theta - lr * gradient
    return theta.detach()
""",
            "with parentheses",
        ),
        (
            "the page's start",
            """
def train(network, theta, x, y, lr, updates):
    theta = torch.randn(9, generator=torch.Generator().manual_seed(0))
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "Start from the theta that you are given",
        ),
        (
            "the page's step size",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - 5.0 * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "lr = 4.0 and lr = 2.0 give the same update",
        ),
        (
            "the page's number of updates",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(1000):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "as many rounds as updates says",
        ),
        (
            "one update too few",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates - 1):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "no update was made, expected 1",
        ),
        (
            "the start, for ever",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        mine = theta.detach().requires_grad_()
        loss = ((network(mine, x) - y) ** 2).mean()
        mine = mine - lr * torch.autograd.grad(loss, mine)[0]
    return theta.clone()
""",
            "one update leaves theta as it was",
        ),
        (
            "a step size of its own where lr is small",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - max(lr, 3.0) * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "with lr = 2.0, theta[",
        ),
        (
            "a result that still hangs on the graph",
            """
def train(network, theta, x, y, lr, updates):
    theta = theta.clone().requires_grad_()
    for _ in range(updates):
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta
""",
            "theta still requires a gradient",
        ),
        (
            "weights set by hand",
            """
def train(network, theta, x, y, lr, updates):
    return torch.tensor([20.0, 20, 20, 20, -10, -30, 20, -20, -10])
""",
            "two different theta to start from",
        ),
        (
            "one update",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
        return theta.detach()
""",
            "the second update changes nothing",
        ),
        (
            "two honest updates, and no more",
            """
def train(network, theta, x, y, lr, updates):
    for _ in range(min(updates, 2)):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "after 800 updates the network answers",
        ),
        (
            "two honest updates, then weights set by hand",
            """
def train(network, theta, x, y, lr, updates):
    if updates > 2:
        return torch.tensor([20.0, 20, 20, 20, -10, -30, 20, -20, -10])
    for _ in range(updates):
        theta = theta.detach().requires_grad_()
        loss = ((network(theta, x) - y) ** 2).mean()
        theta = theta - lr * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
""",
            "lead to other parameters",
        ),
        (
            "another optimizer",
            """
def train(network, theta, x, y, lr, updates):
    theta = theta.clone().requires_grad_()
    adam = torch.optim.Adam([theta], lr=lr)
    for _ in range(updates):
        adam.zero_grad()
        ((network(theta, x) - y) ** 2).mean().backward()
        adam.step()
    return theta.detach()
""",
            "after one update, theta[",
        ),
    ],
}
