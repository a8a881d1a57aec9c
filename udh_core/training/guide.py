"""What guides a `GuidedWarpNet`: where landmarks and body of a clip are, and which flow their movement makes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from ..avatar.dataset import TrainingData
from ..face.body_motion import Body, basis, below
from ..face.crop import in_crop
from ..face.topology import JAW, LANDMARK_COUNT, LIPS, STABLE_POINTS
from ..models.guided_warp import GuidedWarpNet, describe
from ..models.mesh_warp import thin_plate_basis
from ..models.retrieval_warp import APART
from ..models.tensors import to_input

_STIFFNESS = 1e-4  # of the crop's width, squared; chosen
_LIPS_WEIGHT = 15.0  # in the distance of two pictures; of any other landmark 1; chosen
_LOWER_FACE = 0.3  # of the crop's height: landmarks below that move the picture
_EVERY = 3  # of those: the basis is solved with about 135 points
_RIDGE = 0.003
_TYPICAL = 128  # pictures among which a typical distance is found
_BODY_FRAMES = 600  # at most, by which the body's movement is fitted
_BODY_RIDGE = 0.01  # of its regression, see `WarpNet.regression`; of 0.1, 0.01 and 0.001 the best on two clips
_UNDER_JAW = 0.015  # of the crop's width: so far below it what is seen is body
_FADE = 0.05  # from there on, over so much of the crop's width, flows become the body's; chosen
_BATCH = 64  # crops
Described = Callable[[np.ndarray], Tensor]  # frame numbers (n,) → descriptions (n, Q)


def fit_guide(warp: GuidedWarpNet, data: TrainingData, shapes: Tensor, seed: int) -> Described:
    """Fit flows, metric and what the clip shows. shapes: (N, shape_width) of all frames."""
    train, described = data.train_frames, describe(shapes, data.pose)
    count, descriptions = described.shape[1], described[train]
    warp.shown[:, :count] = torch.stack([descriptions.amin(0), descriptions.amax(0)])
    places = places_in_crop(data)
    points = mesh_points(places)
    meshes = places[:, points]
    per_number = _regression(descriptions, meshes.flatten(1)).unflatten(1, (len(points), 2))  # (Q, P, 2)
    warp.mesh_flow[:count] = _flow(warp, meshes.mean(0), per_number)
    weight = torch.where(torch.isin(points, torch.tensor(LIPS)), _LIPS_WEIGHT, 1.0)[None, :, None].sqrt()
    metric = _root((per_number * weight).flatten(1))
    some = spread_frames(train, (descriptions @ metric).numpy(), min(_TYPICAL, len(train)), seed)
    warp.metric[:count, :count] = metric / _typical_distance(described[some] @ metric, torch.from_numpy(some))
    if not warp.config.knows_body:
        return lambda frames: described[frames]
    body = _fit_body(warp, data, places[:, list(JAW)].numpy())
    return lambda frames: torch.cat([described[frames], torch.from_numpy(body.movements(data.crops[frames]))], dim=1)


def by_landmarks(warp: GuidedWarpNet, data: TrainingData, shapes: Tensor) -> Tensor:
    """(N, Q) of all frames, whose distances are those of the network; shapes (N, shape_width)."""
    described = describe(shapes, data.pose)
    return described @ warp.metric[: described.shape[1]]


def _fit_body(warp: GuidedWarpNet, data: TrainingData, jaw: np.ndarray) -> Body:
    """Fit the body's flow, and its movement to what is seen of a crop; jaw (n, J, 2) in crop widths.

    What lies below the jaw moves with the body in all frames that are trained on.
    """
    frames = data.train_frames[:: -(-len(data.train_frames) // _BODY_FRAMES)]
    under = below(jaw, data.avatar.crop.size, _UNDER_JAW)
    body = Body.of(data.crops[frames], under > 0)
    movements = torch.from_numpy(body.movements(data.crops[frames]))
    parts = (to_input(data.crops[frames[k : k + _BATCH]]) for k in range(0, len(frames), _BATCH))
    weight, bias = warp.regression(parts, movements, _BODY_RIDGE)
    warp.body_weight.copy_(weight)
    warp.body_bias.copy_(bias)
    numbers = movements.shape[1]
    warp.shown[:, -numbers:] = torch.stack([movements.amin(0), movements.amax(0)])
    cells = cells_of(warp)
    x, y = (cells * data.avatar.crop.size).long().unbind(-1)
    share = torch.from_numpy(under / _FADE)[y, x].clamp(0, 1)  # (h, w)
    share = share * share * (3 - 2 * share)
    moves = torch.from_numpy(basis(cells.numpy())).permute(3, 2, 0, 1)  # (NUMBERS, 2, h, w)
    warp.mesh_flow[:-numbers] *= 1 - share
    warp.mesh_flow[-numbers:] = moves * share
    return body


def places_in_crop(data: TrainingData) -> Tensor:
    """(n, 468, 2) float32 landmarks of the frames that are trained on, in crop widths."""
    train = data.train_frames
    return torch.from_numpy(in_crop(data.landmarks[train], data.transforms[train]) / data.avatar.crop.size).float()


def mesh_points(places: Tensor) -> Tensor:
    """(P,) int64 landmarks by which pictures are warped; places (n, 468, 2) in crop widths."""
    lower = torch.arange(LANDMARK_COUNT)[places[..., 1].mean(0) > _LOWER_FACE]
    lower = lower[~torch.isin(lower, torch.tensor(LIPS))][::_EVERY]
    return torch.cat([lower, torch.tensor([*LIPS, *JAW, *STABLE_POINTS])]).unique()


def spread_frames(frames: np.ndarray, places: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count,) sorted of the frames (n,), spread over places (n, Q): one near each centre that k-means finds."""
    if len(np.unique(places.round(6), axis=0)) <= count:  # nothing to group
        return frames[np.linspace(0, len(frames) - 1, count).astype(int)]
    centres, _ = kmeans2(places.astype(np.float64), count, minit="++", rng=np.random.default_rng(seed))
    free, chosen = np.ones(len(frames), bool), []
    for centre in centres:
        distance = np.where(free, ((places - centre) ** 2).sum(1), np.inf)
        chosen.append(int(distance.argmin()))
        free[chosen[-1]] = False
    return np.sort(frames[chosen])


def cells_of(warp: GuidedWarpNet) -> Tensor:
    """(h, w, 2) float32 x and y of the middles of the cells of the box, in crop widths."""
    stride, size = warp.config.stride, warp.config.size
    y, x = ((torch.arange(part.start, part.stop, stride) + stride / 2) / size for part in warp.box)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _typical_distance(places: Tensor, frames: Tensor) -> Tensor:
    """() median distance of places (n, Q) to the nearest other one whose frame (n,) is at least APART away."""
    near = (frames[:, None] - frames[None]).abs() < APART
    nearest = torch.cdist(places, places).masked_fill(near, torch.inf).min(dim=1).values
    return nearest.median().clamp_min(1e-6)


def _regression(descriptions: Tensor, values: Tensor) -> Tensor:
    """(Q, V): how values (n, V) change with descriptions (n, Q)."""
    x, y = (z.double() - z.double().mean(0) for z in (descriptions, values))
    ridge = _RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y).float()


def _flow(warp: GuidedWarpNet, places: Tensor, per_number: Tensor) -> Tensor:
    """(Q, 2, h, w): how far each cell of the box moves with each number of a description, in crop widths."""
    cells = cells_of(warp)
    basis = thin_plate_basis(places, cells.flatten(0, 1), _STIFFNESS)
    return torch.einsum("cp,qpk->qkc", basis, per_number).unflatten(2, cells.shape[:2])


def _root(values: Tensor) -> Tensor:
    """(Q, Q) whose rows have the same scalar products as the rows of values (Q, V)."""
    spread, axes = torch.linalg.eigh(values.double() @ values.double().T)
    return (axes * spread.clamp_min(0).sqrt()).float()
