#!/usr/bin/python3
"""SASRec in PyTorch, the other side of bench/train.

Needs Debian's python3-torch and python3-numpy.  Input: lines of
user,item[,time] (an optional header, optionally gzipped).  Each user's events
are put in order of time, and of their lines where that is the same; the last
one is for test, the one before for validation, the rest train; users with fewer
than three events only train.
Ranking is over all items, without those of the history; a tie counts against
the target.  Test figures are of the epoch with the best validation NDCG@10.
The last line printed is one JSON object.
"""
import argparse
import gzip
import json
import os
import resource
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data")
    add("--width", type=int, default=64)
    add("--layers", type=int, default=2)
    add("--heads", type=int, default=1)
    add("--max-length", type=int, default=50)
    add("--dropout", type=float, default=0.2)
    add("--batch-size", type=int, default=128)
    add("--learning-rate", type=float, default=1e-3)
    add("--epochs", type=int, default=100)
    add("--patience", type=int, default=10)
    add("--threads", type=int, default=2)
    add("--chunk", type=int, default=0, help="positions whose logits exist at once; 0: all of a batch")
    add("--bucket", type=int, default=0, help="batches within which sequences are sorted by length; 0: off")
    add("--seed", type=int, default=1)
    add("--no-evaluation", action="store_true", help="only time the epochs")
    return parser.parse_args()


OPTIONS = arguments()
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(OPTIONS.threads)
# PyTorch's and OpenBLAS's thread pools would fight over the cores if they spun
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def read_histories(path):
    """Returns one array of item numbers (from 1) per user, oldest first, and the number of items."""
    opener = gzip.open if path.endswith(".gz") else open
    events, numbers = {}, {}
    with opener(path, "rt") as lines:
        for line in lines:
            field = line.strip().split(",")
            if len(field) < 2 or not field[-1].replace(".", "", 1).lstrip("-").isdigit():
                continue
            moment = float(field[2]) if len(field) > 2 else 0.0
            events.setdefault(field[0], []).append((moment, int(field[1])))
    for user in events.values():
        user.sort(key=lambda event: event[0])
        for _, item in user:
            numbers.setdefault(item, len(numbers) + 1)
    return [np.array([numbers[item] for _, item in user]) for user in events.values()], len(numbers)


def padded(histories):
    """[n, longest] with zeros on the right."""
    out = np.zeros((len(histories), max(map(len, histories))), dtype=np.int64)
    for row, history in enumerate(histories):
        out[row, :len(history)] = history
    return torch.from_numpy(out)


class Block(nn.Module):
    """Attention of the normalised input over the input itself, then a feed-forward layer."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.query, self.key_value, self.output = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, mask):
        n, length, width = x.shape
        size = width // self.heads

        def split(t):
            return t.reshape(n, length, self.heads, size).transpose(1, 2).reshape(n * self.heads, length, size)

        normed = self.norm1(x)
        key, value = self.key_value(x).chunk(2, dim=-1)
        score = torch.baddbmm(mask[:length, :length], split(self.query(normed)), split(key).transpose(1, 2), alpha=size ** -0.5)
        weight = F.dropout(score.softmax(-1), self.dropout, self.training)
        mixed = torch.bmm(weight, split(value)).view(n, self.heads, length, size).transpose(1, 2).reshape(n, length, width)
        x = self.norm2(normed + self.output(mixed))
        inner = F.dropout(F.relu(self.inner(x)), self.dropout, self.training)
        return x + F.dropout(self.outer(inner), self.dropout, self.training)


class SASRec(nn.Module):
    def __init__(self, items, o):
        super().__init__()
        self.scale, self.dropout = o.width ** 0.5, o.dropout
        self.item = nn.Embedding(items + 1, o.width, padding_idx=0)
        self.position = nn.Embedding(o.max_length, o.width)
        self.blocks = nn.ModuleList(Block(o.width, o.heads, o.dropout) for _ in range(o.layers))
        self.last = nn.LayerNorm(o.width, eps=1e-8)
        self.register_buffer("mask", torch.full((o.max_length, o.max_length), float("-inf")).triu(1))
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, 0, 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        with torch.no_grad():
            self.item.weight[0] = 0

    def forward(self, ids):
        x = self.item(ids) * self.scale + self.position.weight[:ids.shape[1]]
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x, self.mask)
        return self.last(x)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean softmax cross-entropy over all items, the logits of chunk positions at a time."""

    @staticmethod
    def forward(ctx, hidden, table, target, chunk):
        count, loss = len(target), 0.0
        d_hidden, d_table = torch.empty_like(hidden), torch.zeros_like(table)
        for start in range(0, count, chunk):
            h, y = hidden[start:start + chunk], target[start:start + chunk]
            rows = torch.arange(len(y))
            log_p = torch.log_softmax(h @ table.t(), 1)
            loss -= log_p[rows, y].sum().item()
            gradient = log_p.exp_()
            gradient[rows, y] -= 1
            gradient /= count
            torch.mm(gradient, table, out=d_hidden[start:start + chunk])
            d_table.addmm_(gradient.t(), h)
        ctx.save_for_backward(d_hidden, d_table)
        return hidden.new_tensor(loss / count)

    @staticmethod
    def backward(ctx, upstream):
        d_hidden, d_table = ctx.saved_tensors
        return d_hidden * upstream, d_table * upstream, None, None


def batch_loss(model, ids, chunk):
    source, target = ids[:, :-1], ids[:, 1:]
    real = target > 0
    hidden, target, table = model(source)[real], target[real] - 1, model.item.weight[1:]
    if chunk:
        return ChunkedCrossEntropy.apply(hidden, table, target, chunk)
    return F.cross_entropy(hidden @ table.t(), target)


@torch.no_grad()
def evaluate(model, histories, back, max_length):
    """Metrics of the event `back` from the end (1: test, 2: validation)."""
    model.eval()
    ranks = []
    for start in range(0, len(histories), 256):
        block = histories[start:start + 256]
        seen = [h[:-back] for h in block]
        ids = padded([h[-max_length:] for h in seen])
        hidden = model(ids)[torch.arange(len(block)), (ids > 0).sum(1) - 1]
        score = hidden @ model.item.weight.t()
        score[:, 0] = float("-inf")
        target = torch.tensor([h[-back] for h in block])[:, None]
        own = score.gather(1, target)
        row = np.repeat(np.arange(len(block)), [len(h) for h in seen])
        score[torch.from_numpy(row), torch.from_numpy(np.concatenate(seen))] = float("-inf")
        score.scatter_(1, target, own)
        ranks.append((score >= own).sum(1))
    model.train()
    rank = torch.cat(ranks).double()
    hit = (rank <= 10).double()
    return {"ndcg@10": (hit / torch.log2(rank + 1)).mean().item(), "hr@10": hit.mean().item(), "mrr": (1 / rank).mean().item()}


def epoch_batches(train, o, generator):
    order = generator.permutation(len(train))
    if o.bucket:
        length = np.array([len(h) for h in train])
        window = o.batch_size * o.bucket
        order = np.concatenate([part[np.argsort(length[part], kind="stable")]
                                for part in (order[i:i + window] for i in range(0, len(order), window))])
    batches = [order[i:i + o.batch_size] for i in range(0, len(order), o.batch_size)]
    if o.bucket:
        generator.shuffle(batches)
    return batches


def main():
    o = OPTIONS
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    generator = np.random.default_rng(o.seed)
    histories, items = read_histories(o.data)
    judged = [h for h in histories if len(h) >= 3]
    train = [h[:-2] if len(h) >= 3 else h for h in histories]
    train = [h[-o.max_length - 1:] for h in train if len(h) >= 2]
    model = SASRec(items, o)
    optimiser = torch.optim.Adam(model.parameters(), lr=o.learning_rate)
    seconds, best, stale, kept = [], -1.0, 0, None
    for epoch in range(1, o.epochs + 1):
        begun = time.perf_counter()
        for batch in epoch_batches(train, o, generator):
            optimiser.zero_grad(set_to_none=True)
            batch_loss(model, padded([train[i] for i in batch]), o.chunk).backward()
            optimiser.step()
        seconds.append(time.perf_counter() - begun)
        if o.no_evaluation:
            continue
        metric = evaluate(model, judged, 2, o.max_length)["ndcg@10"]
        print(f"epoch {epoch}: {seconds[-1]:.2f} s, validation NDCG@10 {metric:.4f}", file=sys.stderr, flush=True)
        stale += 1
        if metric > best:
            best, stale = metric, 0
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        if stale >= o.patience:
            break
    if kept:
        model.load_state_dict(kept)
    test = {} if o.no_evaluation else evaluate(model, judged, 1, o.max_length)
    print(json.dumps({"items": items, "positions": sum(len(h) - 1 for h in train), "epochs": len(seconds),
                      "epoch_seconds": float(np.median(seconds)), "validation": best, "test": test,
                      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
