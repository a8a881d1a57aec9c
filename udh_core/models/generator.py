"""The generator: a motion network (audio → mouth shape) and a warp network (shape → redrawn crop)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..face.crop import CropSpec
from .config import Config
from .guided_warp import GuidedWarpNet
from .motion import MotionConfig, MotionNet, MotionTrainingConfig
from .retrieval_warp import RetrievalWarpNet
from .warping import WarpConfig, WarpNet

SHAPE_REACH = 6.0  # standard deviations


@dataclass(frozen=True)
class AdaptationConfig(Config):
    """How far another voice is brought to that of the clip, see `inference/driving.py`.

    The variances are those between passages of the clip's own voice, one second long; n seconds have an n-th of them
    (measured with whisper-tiny over passages of 2 to 16 s of two clips, of GRID and of the news).
    """

    mean_variance: float = 0.12  # of the mean of a feature, whose own variance is 1
    movement_variance: float = 0.035  # of the logarithm of how much the mouth moves
    max_gain: float = 1.6  # a movement is scaled by this factor, or divided by it, at most
    max_deviation: float = 3.0  # standard deviations that scaling may reach: further out the clip showed nothing
    least_s: float = 0.5  # of speech, to say anything about a voice
    voice_variance: float = 0.02  # of the mean of a feature, from one recording of a voice to the next; chosen


@dataclass(frozen=True)
class GeneratorConfig(Config):
    """Sizes of both networks, and the constants of training and speaker adaptation."""

    motion: MotionConfig
    warp: WarpConfig
    shape_points: int  # P landmarks of lips and jaw
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    motion_training: MotionTrainingConfig = field(default_factory=MotionTrainingConfig)

    def __post_init__(self) -> None:
        if self.motion.shape_width != self.warp.shape_width:
            raise ValueError(
                f"its networks differ in shape_width: {self.motion.shape_width} and {self.warp.shape_width}"
            )


class Generator(nn.Module):
    """Both networks and the space of mouth shapes they share: principal components of lips and jaw.

    The statistics here are fitted to the clip, not trained by gradients. S: shape_width; P: shape_points; D: feature
    width; W: width of what the motion prior's members see; K, C: number of references, px of the crop;
    V: 3 · POSE_INPUT_PX²; Q: numbers that describe a picture, only where the mesh guides. σ: standard
    deviations of a component.

    | name | shape | unit | fitted by | used by |
    |---|---|---|---|---|
    | shape_mean | (2P,) | face units | `fit_shape_space` | `encode_shapes` |
    | shape_basis | (S, 2P) | – | `fit_shape_space` | `encode_shapes` |
    | shape_std | (S,) | face units | `fit_shape_space` | `encode_shapes`, losses |
    | rest_pose | (S,) | σ | training/calibration.py | silence, scaling |
    | mouth_amplitude | () | face units | training/calibration.py and motion.py | amplitude gain; 0: unknown |
    | motion.feature_mean | (D,) | features | `fit_feature_statistics` | `MotionNet.normalise` |
    | motion.feature_std | (D,) | features | `fit_feature_statistics` | `MotionNet.normalise` |
    | motion.speech_mean | (D,) | features | `fit_feature_statistics` | feature shift |
    | motion.variance_gain | (S,) | factor | training/motion.py, held-out folds | `MotionNet.forward` |
    | motion.prior_head | (S, W), (S,) | σ | training/prior_head.py | `MotionNet.forward` |
    | motion.general_head | (S, W), (S,) | σ | training/prior_head.py | `MotionNet.forward`, other voices |
    | motion.general_amplitude | () | face units | training/motion.py | amplitude gain, other voices |
    | warp.references | (K, 3, C, C) | RGB 0..255 | training/references.py | `WarpNet.draw` |
    | warp.reference_description | (K, Q) | σ | training/guide.py, bank.py | `GuidedWarpNet` |
    | warp.mesh_flow, metric | (Q, 2, h, w), (Q, Q) | crop widths / σ | training/guide.py | `GuidedWarpNet` |
    | warp.shown | (2, Q) | σ, least and most | training/guide.py | `GuidedWarpNet` |
    | warp.bank_frames | (K,) | frames | training/bank.py | `RetrievalWarpNet` |
    | warp.lips | (1, 1, h, w) | 0..1 | training/bank.py | `RetrievalWarpNet` |
    | warp.pose_weight and pose_bias | (V, 4), (4,) | σ | `WarpNet.fit_pose_inputs` | `WarpNet.pose` |
    | warp.body_weight and body_bias | (V, 4), (4,) | crop widths | training/guide.py | `GuidedWarpNet` |
    | warp.amplitude | () | factor | training/calibration.py | `WarpNet.draw`, eval mode |
    | warp.sharpening | () | share | training/calibration.py | `WarpNet.draw`, eval mode |

    `warp.amplitude` scales shapes about the mean of the principal components, because it undoes how far the network
    itself falls short of any shape it is given; the gains of `inference/driving.py` scale about `rest_pose`.
    """

    shape_mean: Tensor
    shape_basis: Tensor
    shape_std: Tensor
    rest_pose: Tensor
    mouth_amplitude: Tensor

    def __init__(self, config: GeneratorConfig, spec: CropSpec) -> None:
        super().__init__()
        self.config = config
        self.motion = MotionNet(config.motion)
        self.warp = warp_network(config.warp, spec)
        width = 2 * config.shape_points
        self.register_buffer("shape_mean", torch.zeros(width))
        self.register_buffer("shape_basis", torch.zeros(config.motion.shape_width, width))
        self.register_buffer("shape_std", torch.ones(config.motion.shape_width))
        self.register_buffer("rest_pose", torch.zeros(config.motion.shape_width))
        self.register_buffer("mouth_amplitude", torch.zeros(()))

    @torch.no_grad()
    def fit_shape_space(self, points: Tensor) -> Tensor:
        """Principal components of points (N, P, 2) float32 in face units; sets the shape space.

        (N,) bool: which of them it was fitted to. The others are outliers, more than SHAPE_REACH standard deviations
        from the mean, as landmarks of broken pictures are.
        """
        flat = points.flatten(1)
        within = torch.ones(len(flat), dtype=torch.bool)
        for _ in range(2):  # refitted, because outliers widen the first space and are masked by it
            self._span(flat[within])
            within = (self._deviations(flat).abs() <= SHAPE_REACH).all(1)
        self._span(flat[within])
        return within

    def encode_shapes(self, points: Tensor) -> Tensor:
        """points (N, P, 2) float32 in face units → (N, shape_width) in standard deviations, SHAPE_REACH at most."""
        return self._deviations(points.flatten(1)).clamp(-SHAPE_REACH, SHAPE_REACH)

    def _span(self, flat: Tensor) -> None:
        self.shape_mean.copy_(flat.mean(0))
        basis = torch.linalg.svd(flat - self.shape_mean, full_matrices=False).Vh[: len(self.shape_std)]
        sign = basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()  # the SVD leaves it open
        self.shape_basis.copy_(basis * sign)
        self.shape_std.copy_(((flat - self.shape_mean) @ self.shape_basis.T).std(0).clamp_min(1e-4))

    def _deviations(self, flat: Tensor) -> Tensor:
        return (flat - self.shape_mean) @ self.shape_basis.T / self.shape_std


def warp_network(config: WarpConfig, spec: CropSpec) -> WarpNet:
    """The kind of warp network that a description asks for, untrained."""
    if config.retrieves:
        return RetrievalWarpNet(config, spec)
    return (GuidedWarpNet if config.flows >= 2 else WarpNet)(config, spec)


def with_neighbours(shapes: Tensor, frames: int, shots: Tensor | None = None) -> Tensor:
    """(N, D) → (N, frames, D): each shape with those around it, its own repeated at the ends and at cuts.

    shots: (N,) int number of the shot each frame belongs to; None = one shot.
    """
    count = len(shapes)
    own = torch.arange(count, device=shapes.device)
    columns = []
    for offset in range(-(frames // 2), frames // 2 + 1):
        other = (own + offset).clamp(0, count - 1)
        if shots is not None:
            other = torch.where(shots[other] == shots, other, own)
        columns.append(shapes[other])
    return torch.stack(columns, dim=1)
