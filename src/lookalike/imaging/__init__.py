"""The only door for image bytes: decoding, orientation, boxes, thumbnails, contact sheets."""
