"""All landmark indices: the 468 points of MediaPipe's face mesh by name."""

from __future__ import annotations

# MediaPipe mesh points that speech does not move, with their mean place in face units over several people.
STABLE_POINTS = (33, 133, 362, 263, 168, 6, 197, 195, 127, 356, 162, 389)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
JAW = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
NOSE = (1, 2, 4, 5, 195, 197)
SCHEME = "mediapipe468"
LANDMARK_COUNT = 468
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
INNER_LIP_TOP, INNER_LIP_BOTTOM, MOUTH_RIGHT, MOUTH_LEFT = 13, 14, 61, 291
