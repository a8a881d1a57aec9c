"""Dolby Vision: whether a picture has colours of its own, which other decoders show in green and magenta."""

from __future__ import annotations

from av.packet import Packet

# A NAL unit of HEVC that says how a frame is to be shown: its header, its prefix, rpu_type 2 and rpu_format 18.
METADATA = b"\x7c\x01\x19\x08\x09"
OWN = 0  # the four bits after that, vdr_rpu_profile, of what is stored as IPT: profile 5 (ETSI GS CCM 001)


def has_own_colours(packet: Packet) -> bool:
    """Whether a frame of HEVC comes with metadata of profile 5, whatever the tags of the file say."""
    data = bytes(packet)
    place = data.rfind(METADATA) + len(METADATA)  # they lie behind the picture
    return len(METADATA) <= place < len(data) and data[place] >> 3 & 0xF == OWN
