"""Files of picture and sound: what they are, reading, writing, bringing them into shape."""
