"""Images cut into tiles that do not overlap."""

import numpy as np
from jaxtyping import Integer

from gen_jax.data.importing.found import Part
from gen_jax.errors import InputError


def cut(image: Integer[np.ndarray, "H W C"], side: int) -> Integer[np.ndarray, "n S S C"]:
    """Tiles (S, S, C) from the upper left corner, row by row; what is left at the borders is dropped."""
    height, width, channels = image.shape
    rows, columns = height // side, width // side
    inside = image[: rows * side, : columns * side]
    grid = inside.reshape(rows, side, columns, side, channels).swapaxes(1, 2)
    return grid.reshape(rows * columns, side, side, channels)


def tile(parts: dict[str, Part], side: int) -> tuple[dict[str, Part], list[str]]:
    """All images as tiles, the tiles of one image side by side in its split; InputError where one is too small."""
    tiled, before, after, images = {}, 0, 0, 0
    for name, part in parts.items():
        cuts = []
        for image, origin in zip(part.x, part.origins, strict=True):
            if image.ndim != 3:
                raise InputError(f"{origin} holds no images; --tiles is for images")
            if min(image.shape[:2]) < side:
                raise InputError(
                    f"{origin} is {image.shape[0]}x{image.shape[1]}, too small for --tiles {side}"
                )
            cuts.append(cut(image, side))
            before += image.shape[0] * image.shape[1]
        counts = [len(tiles) for tiles in cuts]
        labels = None if part.labels is None else part.labels.repeat(counts)
        origins = [
            origin for origin, count in zip(part.origins, counts, strict=True) for _ in range(count)
        ]
        tiled[name] = Part(np.concatenate(cuts), origins, labels)
        after, images = after + len(origins) * side**2, images + len(part)
    share = (before - after) / before
    return tiled, [
        f"{images} images are cut into {after // side**2} tiles of {side}x{side};"
        f" {before - after} of {before} pixels ({share:.1%}) at the borders are left out"
    ]
