"""What a generated video says of itself: the digital source type of IPTC, as XMP, and a comment that survives remuxing.

The type is "composite with trained algorithmic media": IPTC's word for captured media in which a part, here the mouth,
was put by a generative model, as in inpainting. "Trained algorithmic media" would say that all of the picture was.
"""

from __future__ import annotations

import struct
from pathlib import Path

from .container import opened

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
COMMENT = f"The mouth in this video was generated from audio. IPTC digital source type: {SOURCE_TYPE}"
TOOL = "Ultralight Digital Human"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # of the XMP specification, part 3, for mp4 files
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}" xmp:CreatorTool="{TOOL}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def append_xmp(path: Path) -> None:
    """Append the XMP to a finished mp4, as a box of its own behind all others: no offset in the file changes."""
    content = XMP_UUID + _XMP.encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(content), b"uuid") + content)


def is_generated(path: Path) -> bool:
    """Whether a video says so; also one of ours that another program has copied. MediaError: no media file."""
    with opened(path) as container:
        return any(SOURCE_TYPE in text for text in container.metadata.values())  # Matroska calls it COMMENT
