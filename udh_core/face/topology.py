"""All landmark indices: the 468 points of MediaPipe's face mesh by name, and the few we read of the 110 of PFLD.

Left and right are the person's own: the right eye is on the image's left.
"""

from __future__ import annotations

SCHEME = "mediapipe468"
LANDMARK_COUNT = 468
# Mesh points that speech does not move: eye corners, nose bridge, temples. The face is aligned by them.
STABLE_POINTS = (33, 133, 362, 263, 168, 6, 197, 195, 127, 356, 162, 389)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
JAW = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
NOSE = (1, 2, 4, 5, 195, 197)
NOSE_TIP = 1
NOSE_BASE = 2  # where the nose meets the upper lip
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
RIGHT_EYE_INNER, LEFT_EYE_INNER = 133, 362
INNER_LIP_TOP, INNER_LIP_BOTTOM, MOUTH_RIGHT, MOUTH_LEFT = 13, 14, 61, 291
OUTER_LIP_TOP, OUTER_LIP_BOTTOM = 0, 17
MOUTH_EXTENT = (INNER_LIP_TOP, INNER_LIP_BOTTOM, MOUTH_RIGHT, MOUTH_LEFT, OUTER_LIP_TOP, OUTER_LIP_BOTTOM)
CONTOUR_RIGHT, CONTOUR_LEFT, BETWEEN_BROWS = 234, 454, 9  # both ends of the face's contour at the ears

# Places of points that speech hardly moves in MediaPipe's canonical face model: cm, y up, z towards the camera.
CANONICAL_PLACES = {
    **{33: (-4.445859, 2.663991, 3.173422), 263: (4.445859, 2.663991, 3.173422)},  # outer eye corners
    **{133: (-1.856432, 2.585245, 3.757904), 362: (1.856432, 2.585245, 3.757904)},  # inner eye corners
    **{6: (0.0, 2.473255, 5.788627), 4: (0.0, -0.463170, 7.586580), 1: (0.0, -1.126865, 7.475604)},  # nose
    **{61: (-2.456206, -4.342621, 4.283884), 291: (2.456206, -4.342621, 4.283884)},  # mouth corners
}

# The 110 landmarks of the published system's data folders (a PFLD network).
PFLD_COUNT = 110
PFLD_CONTOUR_RIGHT, PFLD_CONTOUR_LEFT, PFLD_BETWEEN_BROWS = 1, 31, 52
