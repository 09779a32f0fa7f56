#!/usr/bin/python3
"""The experts that count, content, and their gate in numpy: what bench/evidence measures, written down a second time.

    evidence_numpy.py DIRECTORY [--ridge 3] [--cases 800] [--prior]

DIRECTORY as for bench/evidence.  Events of one time are in the order of the file; the last is the answer, the one before it
fits the gate; all items are ranked, without those seen; an item with the answer's score is before it; whose answer was seen
is left out.  Nothing is bounded: rows have all neighbours, and all events of a user count.  There is no own expert.
Needs python3-numpy and python3-scipy."""

import argparse
import csv
import gzip
import os
import re

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

DECAY, WINDOW, DESCRIPTION_WORDS = 0.8, 50, 40
PRIOR = {'popularity': .5, 'recent': .1, 'markov': .1, 'sequence': .5, 'neighbours': .1, 'content': .3}
# ASCII, and from 128 on what is neither a control, a space nor punctuation; no data here have kana, Han or Hangul
WORD = re.compile('[a-z0-9\xaa\xb5\xba\xc0-\u1fff\u2070-\u2fff\u3040-\ufeff]+')


def rows(directory, name):
    path = os.path.join(directory, name)
    if os.path.exists(path):
        with gzip.open(path, 'rt', encoding='utf-8') as file:
            yield from csv.DictReader(file)


def read(directory):
    """Of each user the item numbers and the times; of each item its row of the item table."""
    users, number, texts = {}, {}, {}
    for row in rows(directory, 'interactions.csv.gz'):
        users.setdefault(row['user_id'], []).append((float(row['ts']), row['item_id']))
    histories = [sorted(events, key=lambda event: event[0]) for events in users.values()]
    for history in histories:
        for _, item in history:
            number.setdefault(item, len(number))
    for row in rows(directory, 'items.csv.gz'):
        texts[row['item_id']] = row
    items = [np.array([number[item] for _, item in history]) for history in histories]
    times = [np.array([time for time, _ in history]) for history in histories]
    return items, times, [texts.get(item, {}) for item in number]


def words(row):
    of = lambda column: WORD.findall((row.get(column) or '').lower())
    return of('title') + of('categories') + ([] if of('title') else of('description')[:DESCRIPTION_WORDS])


def text_vectors(texts):
    """[items, words], sparse: tf-idf, of length 1."""
    bags, frequency, place = [words(row) for row in texts], {}, {}
    for bag in bags:
        for word in set(bag):
            frequency[word] = frequency.get(word, 0) + 1
            place.setdefault(word, len(place))
    if not place:
        return None
    at, column, value = [], [], []
    for item, bag in enumerate(bags):
        for word in set(bag):
            at.append(item)
            column.append(place[word])
            value.append((1 + np.log(bag.count(word))) * np.log((len(bags) + 1) / frequency[word]))
    x = sp.csr_matrix((value, (at, column)), shape=(len(bags), len(place)))
    return sp.diags(1 / np.maximum(np.sqrt(x.multiply(x).sum(1)).A1, 1e-9)) @ x


def followed(train, n):
    """[n, n]: both items in a history, .8 for each event between, half of it backwards."""
    a, b, value = [], [], []
    for history in train:
        history = history[-WINDOW:]
        for gap in range(1, len(history)):
            a += list(history[:-gap])
            b += list(history[gap:])
            value += [DECAY ** (gap - 1)] * (len(history) - gap)
    s = sp.csr_matrix((value, (a, b)), shape=(n, n))
    return s + .5 * s.T


def transitions(train, n):
    a = np.concatenate([history[:-1] for history in train])
    b = np.concatenate([history[1:] for history in train])
    counts = sp.csr_matrix((np.ones(len(a)), (a, b)), shape=(n, n))
    return sp.diags(1 / np.maximum(counts.sum(1).A1, 1)) @ counts


def users_of_both(train, n):
    had = [np.unique(history) for history in train]
    who = np.repeat(np.arange(len(train)), [len(items) for items in had])
    u = sp.csr_matrix((np.ones(len(who)), (who, np.concatenate(had))), shape=(len(train), n))
    counts = (u.T @ u).tolil()
    counts.setdiag(0)
    return counts.tocsr()


class Experts:
    def __init__(self, train, times, texts):
        self.n = n = len(texts)
        events = np.concatenate(train)
        count = np.bincount(events, minlength=n)
        at = np.concatenate(times)
        root = sp.diags(1 / np.sqrt(np.maximum(count, 1)))
        self.popularity = np.log1p(count) / 2
        self.recent = np.log1p(np.bincount(events[at >= np.quantile(at, .8)], minlength=n)) / 2
        self.markov = transitions(train, n).tocsr()
        self.sequence = (root @ followed(train, n) @ root).tocsr()
        self.neighbours = (root @ users_of_both(train, n) @ root).tocsr()
        self.text = text_vectors(texts)
        self.names = [name for name in PRIOR if name != 'content' or self.text is not None]

    def scores(self, histories):
        """Of each expert [histories, items], on scales that are the same for all data."""
        who, item, weight = [], [], []
        for row, history in enumerate(histories):
            history = history[-WINDOW:]
            who += [row] * len(history)
            item += list(history)
            weight += list(DECAY ** np.arange(len(history) - 1, -1, -1.))
        decayed = sp.csr_matrix((weight, (who, item)), shape=(len(histories), self.n))
        log = lambda share: np.log1p(100 * share.toarray()) / 2
        out = {
            'popularity': np.tile(self.popularity, (len(histories), 1)),
            'recent': np.tile(self.recent, (len(histories), 1)),
            'markov': log(self.markov[[history[-1] for history in histories]]),
            'sequence': log(decayed @ self.sequence),
            'neighbours': log(decayed @ self.neighbours),
        }
        if self.text is not None:
            profile = decayed @ self.text
            length = np.maximum(np.sqrt(profile.multiply(profile).sum(1)).A1, 1e-9)
            out['content'] = (sp.diags(1 / length) @ profile @ self.text.T).toarray() / .1
        return out


def blocks(experts, cases, back):
    """128 cases at a time: scores, what was seen, answers."""
    for begin in range(0, len(cases), 128):
        part = cases[begin:begin + 128]
        histories = [history[:-back] for history in part]
        answer = np.array([history[-back] for history in part])
        seen = np.zeros((len(part), experts.n), bool)
        for row, history in enumerate(histories):
            seen[row, history] = True
        yield experts.scores(histories), seen, answer


def fit(experts, cases, ridge):
    """Weights: least mean loss of a softmax over all items not seen, plus ridge / cases times |w - prior|^2."""
    examples = []
    for scores, seen, answer in blocks(experts, cases, 2):
        x = np.stack([scores[name] for name in experts.names], -1).astype(np.float32)
        for row, target in enumerate(answer):
            examples.append((x[row][~seen[row]], int((~seen[row][:target]).sum())))
    prior = np.array([PRIOR[name] for name in experts.names])

    def loss(w):
        total, gradient = 0., np.zeros(len(w))
        for x, target in examples:
            score = x @ w
            top = score.max()
            e = np.exp(score - top)
            total += np.log(e.sum()) + top - score[target]
            gradient += e @ x / e.sum() - x[target]
        n = len(examples)
        return total / n + ridge / n * ((w - prior) ** 2).sum(), gradient / n + 2 * ridge / n * (w - prior)

    return minimize(loss, prior, jac=True, method='L-BFGS-B').x


def ranks(score, seen, answer):
    score = np.where(seen, -np.inf, score)
    return (score >= score[np.arange(len(answer)), answer][:, None]).sum(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('directory')
    parser.add_argument('--ridge', type=float, default=3.)
    parser.add_argument('--cases', type=int, default=800, help='at most so many fit the gate')
    parser.add_argument('--prior', action='store_true', help='the weights of the prior as they are')
    options = parser.parse_args()
    items, times, texts = read(options.directory)
    train = [history[:-2] if len(history) >= 3 else history for history in items]
    when = [time[:-2] if len(time) >= 3 else time for time in times]
    experts = Experts(train, when, texts)
    new = lambda back: [h for h in items if len(h) >= 2 + back and h[-back] not in h[:-back]]
    validation = new(2)
    chosen = np.random.default_rng(1).permutation(len(validation))[:options.cases]
    weights = np.array([PRIOR[name] for name in experts.names])
    if not options.prior:
        weights = fit(experts, [validation[i] for i in chosen], options.ridge)
    found = {name: [] for name in experts.names + ['gate']}
    for scores, seen, answer in blocks(experts, new(1), 1):
        for name in experts.names:
            found[name].append(ranks(scores[name] + 1e-3 * scores['popularity'], seen, answer))
        found['gate'].append(ranks(sum(w * scores[name] for w, name in zip(weights, experts.names)), seen, answer))
    print('weights: ' + ', '.join(f'{name} {w:.3f}' for name, w in zip(experts.names, weights)))
    for name, list_of_ranks in found.items():
        rank = np.concatenate(list_of_ranks)
        print(f'{name:10s} NDCG@10 {np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean():.6f}'
            f'  HR@10 {(rank <= 10).mean():.6f}  users {len(rank)}')


if __name__ == '__main__':
    main()
